package sandbox

import (
	"bytes"
	"io"
	"net/http"
)

// maxFHIR is how large a FHIR object may be here, in bytes: it is held to be judged. The real limit is not published.
const maxFHIR = 32 << 20

// serveProvider answers permission-access/import/h:accountId/fhir/{version}: a FHIR object for the provider behind an
// account of the user. ("h:accountId" is literal: it says that the account stands in a header.)
func (s *Server) serveProvider(c *call) (reply, error) {
	g, err := s.writer(c, KindWrite)
	if err != nil {
		return reply{}, err
	}
	if version := c.r.PathValue("version"); version != "stu3" && version != "3.0.2" {
		return reply{}, refuse(http.StatusNotFound, "NotFound", "There is no FHIR version "+version)
	}
	if got := c.r.Header.Get("Content-Type"); got != "application/json" {
		return reply{}, wrongType(got, "application/json")
	}
	id := c.r.Header.Get("accountId")
	if id != g.user.account.ID {
		return reply{}, invalid("header accountId: the user has no account '" + id + "'")
	}
	body, err := io.ReadAll(io.LimitReader(c.r.Body, maxFHIR+1))
	if err != nil {
		return reply{}, badBody(err)
	}
	if len(body) > maxFHIR {
		return reply{}, refuse(http.StatusRequestEntityTooLarge, "PayloadTooLarge", "The FHIR object is too large")
	}
	if _, err := parseObject(body); err != nil {
		return reply{}, invalid("body: " + err.Error())
	}
	d := Delivery{User: g.user.id, Kind: DeliveryProvider, AccountID: id}
	if err := s.receive(c, bytes.NewReader(body), d); err != nil {
		return reply{}, err
	}
	return jsonReply(http.StatusOK, struct{}{}), nil
}
