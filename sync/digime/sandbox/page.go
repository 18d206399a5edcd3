package sandbox

import (
	_ "embed"
	"html/template"
	"maps"
	"net/http"
	"slices"
)

// The two pages a person may be sent to, below onboardPath.
const (
	pageAuthorize = "authorize"
	pageReauth    = "user-reauth"
)

//go:embed page.html
var pageText string

var pageTemplate = template.Must(template.New("page").Parse(pageText))

type pageView struct {
	Fault                 string // why there is nothing to decide, "" when there is
	Application, Contract string
	Reads                 bool
	Linked                string   // the user whose library it is, "" when the person chooses
	Users                 []string // to choose from
}

// servePage shows what is asked and carries out the decision. Query parameters other than code (sourceType, service,
// lng, …) say what the real page would offer, and are ignored.
func (s *Server) servePage(page string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		view := s.view(page, r.URL.Query().Get("code"))
		if view.Fault == "" && r.Method == http.MethodPost {
			callback, err := s.decide(r.URL.Query().Get("code"), r.PostFormValue("decision") == "share", r.PostFormValue("library"))
			if err == nil {
				http.Redirect(w, r, callback, http.StatusSeeOther)
				return
			}
			view.Fault = err.Error()
		}
		s.render(w, view)
	}
}

func (s *Server) view(page, asked string) pageView {
	s.mu.Lock()
	defer s.mu.Unlock()
	one, err := s.pending(asked)
	if err != nil {
		return pageView{Fault: err.Error()}
	}
	if one.page != page {
		return pageView{Fault: "the link belongs to another page, " + one.page}
	}
	view := pageView{Application: s.ApplicationID, Contract: one.contract.id, Reads: one.contract.kind == KindRead}
	if one.user != nil {
		view.Linked = one.user.id
	}
	view.Users = slices.Sorted(maps.Keys(s.users))
	return view
}

func (s *Server) render(w http.ResponseWriter, view pageView) {
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Cache-Control", "no-store")
	// No form-action: browsers apply it to the redirect that follows the form too, which goes to the client.
	h.Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	if view.Fault != "" {
		w.WriteHeader(http.StatusGone)
	}
	if err := pageTemplate.Execute(w, view); err != nil {
		s.log.Info("the browser did not take the page", "err", err)
	}
}
