package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/digime-sync/digime-sync/sync/digime"
)

// verifyFor is how long an answer that cannot be verified yet is waited for here;
// tests wait less.
var verifyFor = 2 * time.Minute

// take trades the code for the token and saves it. An interrupt comes too late
// by now: it would lose the consent. A code that the network kept from the
// service is sent once more. An answer that cannot be verified yet is kept, since
// the code is used up.
func (c *consent) take(ans decision, verifier string) (digime.Token, error) {
	ctx, cancel := context.WithTimeout(context.Background(), verifyFor)
	defer cancel()
	var unkept error
	keep := func(answer digime.Answer) { unkept = c.keep(answer, ans.postbox) }
	tok, err := c.client.Exchange(context.Background(), c.contract, ans.code, verifier, keep)
	var api *digime.Error
	if errors.As(err, &api) && api.Class == digime.Passing && api.Answer == "" {
		tok, err = c.client.Exchange(context.Background(), c.contract, ans.code, verifier, keep)
	}
	for errors.As(err, &api) && api.Answer != "" {
		select {
		case <-ctx.Done():
			return tok, errors.Join(unkept, fmt.Errorf("%w: %w", errKept, err))
		case <-time.After(2 * time.Second):
		}
		tok, err = c.client.Verify(context.Background(), api.Answer, digime.Token{})
	}
	if err != nil {
		return tok, err
	}
	tok.Postbox = ans.postbox
	if err = c.save(&tok); errors.Is(err, errOtherPerson) {
		err = errors.Join(err, c.unkeep())
	}
	return tok, err
}

// unkeep forgets an answer that another person has given.
func (c *consent) unkeep() error {
	unlock, err := c.vault.Lock(c.token)
	if err != nil {
		return err
	}
	defer unlock()
	tok, err := loadToken(c.vault, c.token)
	if err != nil || tok.Unverified == nil {
		return nil // nothing was kept
	}
	if tok.Unverified = nil; tok.Access.Value == "" {
		return c.vault.Remove(c.token)
	}
	data, err := json.Marshal(tok)
	if err != nil {
		return fmt.Errorf("encode token: %w", err)
	}
	return c.vault.Save(c.token, data)
}

// errKept is a consent whose answer is in the vault and waits to be verified.
var errKept = errors.New("digi.me's answer is kept, and cannot be verified yet")

// keep writes an answer down beside the token there is.
func (c *consent) keep(answer digime.Answer, postbox *digime.Postbox) error {
	unlock, err := c.vault.Lock(c.token)
	if err != nil {
		return err
	}
	defer unlock()
	if err := c.remember(); err != nil {
		return err
	}
	tok := digime.Token{Postbox: postbox}
	if c.old != nil {
		tok = *c.old
	}
	tok.Unverified = &digime.Unverified{Answer: answer, Came: time.Now(), Exchanged: true}
	data, err := json.Marshal(tok)
	if err != nil {
		return fmt.Errorf("encode token: %w", err)
	}
	return c.vault.Save(c.token, data)
}
