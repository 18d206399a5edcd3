package sandbox

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"slices"
	"time"
)

// Kinds of delivery.
const (
	DeliveryLibrary  = "library"
	DeliveryProvider = "provider"
	DeliveryPostbox  = "postbox"
)

// Delivery is one body that arrived whole and was accepted.
type Delivery struct {
	Time       time.Time       `json:"time"`
	User       string          `json:"user"`
	ContractID string          `json:"contract_id"`
	Kind       string          `json:"kind"`                 // DeliveryLibrary, DeliveryProvider or DeliveryPostbox
	Descriptor json.RawMessage `json:"descriptor,omitempty"` // as it was signed; none for a provider
	SHA256     string          `json:"sha256"`               // of the content, in hex; of a postbox's file when decrypted
	Size       int64           `json:"size"`                 // of the content, in bytes
	Nonce      string          `json:"nonce"`                // of the request that brought it: tells attempts apart
	AccountID  string          `json:"account_id,omitempty"` // of the provider's account
}

// Deliveries are all deliveries so far, in the order in which they were accepted.
func (s *Server) Deliveries() []Delivery {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.deliveries)
}

// servePush answers permission-access/import: a file for the user's library. The head is judged before any of the
// body is read, so that a client which waits for 100-continue sends nothing in vain.
func (s *Server) servePush(c *call) (reply, error) {
	g, err := s.writer(c, KindWrite)
	if err != nil {
		return reply{}, err
	}
	if got := c.r.Header.Get("Content-Type"); got != "application/octet-stream" {
		return reply{}, wrongType(got, "application/octet-stream")
	}
	descriptor, err := signedDescriptor(c)
	if err != nil {
		return reply{}, err
	}
	d := Delivery{User: g.user.id, Kind: DeliveryLibrary, Descriptor: descriptor}
	if err := s.receive(c, c.r.Body, d); err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, struct{}{}), nil
}

// writer finds the user an access token stands for, provided that the contract is of the kind that may write here.
func (s *Server) writer(c *call, kind string) (*grant, error) {
	if c.contract.kind != kind {
		return nil, insufficientScope()
	}
	return s.authorized(c)
}

// insufficientScope is the refusal of a contract of the wrong kind, in digi.me's documented words.
func insufficientScope() error {
	return refuse(http.StatusForbidden, "InsufficientScope",
		"The request requires higher privileges than provided by the access token")
}

func wrongType(got, want string) error {
	return refuse(http.StatusUnsupportedMediaType, "UnsupportedMediaType",
		"The Content-Type must be "+want+", not '"+got+"'")
}

// receive takes the content and records the delivery d once it has arrived whole.
func (s *Server) receive(c *call, content io.Reader, d Delivery) error {
	sum, size, kept, err := s.bodies.take(content)
	if err != nil {
		return err
	}
	if kept != nil {
		s.log.Warn("the delivered content is not kept", "sha256", sum, "err", kept)
	}
	d.SHA256, d.Size, d.ContractID, d.Nonce = sum, size, c.contract.id, c.claims["nonce"]
	s.mu.Lock()
	defer s.mu.Unlock()
	d.Time = s.now()
	s.deliveries = append(s.deliveries, d)
	s.log.Info("delivered", "kind", d.Kind, "user", d.User, "bytes", size, "sha256", sum)
	return nil
}

// badBody is the refusal of a body that could not be read to its end, mostly because its sender is gone.
func badBody(err error) error {
	if refusal := (*apiError)(nil); errors.As(err, &refusal) {
		return err
	}
	if errors.Is(err, errCipherText) {
		return invalid("body: " + err.Error())
	}
	return refuse(http.StatusBadRequest, "IncompleteBody", "The body did not arrive whole: "+err.Error())
}
