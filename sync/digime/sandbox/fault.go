package sandbox

// Fault is one way in which requests go wrong.
type Fault struct {
	Kind string `json:"kind,omitempty"` // which requests: a Req… constant, "" any
}

// Fail queues a fault.
func (s *Server) Fail(f Fault) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.faults = append(s.faults, &f)
}
