package digime

import (
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"strings"
	"testing"
)

const sdkToken = `{"accessToken":{"value":"AAA","expiry":1700000000},"refreshToken":{"value":"RRR","expiry":1800000000},"user":{"id":"U"},"consentid":"C"}`

func TestTokenForm(t *testing.T) {
	want := Token{TokenPart{"AAA", 1700000000}, TokenPart{"RRR", 1800000000}, "U", "C", nil, nil}
	var got Token
	if err := json.Unmarshal([]byte(sdkToken), &got); err != nil || got != want {
		t.Fatalf("got %#v, %v", got, err)
	}
	if text, err := json.Marshal(got); err != nil || string(text) != sdkToken {
		t.Errorf("written as %s, %v", text, err)
	}
	bare := Token{Access: want.Access, Refresh: want.Refresh}
	text, err := json.Marshal(bare)
	if err != nil || strings.Contains(string(text), "user") || strings.Contains(string(text), "consentid") {
		t.Errorf("without a person it is written as %s, %v", text, err)
	}
}

// A postbox stays with its token, through the vault and through a refresh.
func TestPostboxStaysWithTheToken(t *testing.T) {
	with := strings.Replace(sdkToken, `"consentid":"C"`, `"consentid":"C","postbox":{"id":"B","publicKey":"PEM"}`, 1)
	old, err := ParseToken([]byte(with))
	if err != nil || old.Postbox == nil || *old.Postbox != (Postbox{"B", "PEM"}) {
		t.Fatalf("read as %+v, %v", old.Postbox, err)
	}
	if text, err := json.Marshal(old); err != nil || string(text) != with {
		t.Errorf("written as %s, %v", text, err)
	}
	answer := tokenClaims{Access: claimedPart{"A2", "1700000001"}, Refresh: claimedPart{"R2", "1800000001"}, Sub: "U"}
	if fresh, err := answer.token(old); err != nil || fresh.Postbox == nil || *fresh.Postbox != *old.Postbox {
		t.Errorf("after a refresh: %+v, %v", fresh.Postbox, err)
	}
}

func TestParseTokenIsLenient(t *testing.T) {
	for _, text := range []string{
		"\xef\xbb\xbf" + sdkToken + "\r\n",
		strings.Replace(sdkToken, `"user"`, `"new":[1],"user"`, 1),
		strings.Replace(sdkToken, `{"id":"U"}`, `{"id":"U","name":"x"}`, 1),
		strings.Replace(sdkToken, "1700000000", "1700000000123", 1), // milliseconds
		strings.Replace(sdkToken, "1700000000", "1.7e9", 1),
	} {
		if got, err := ParseToken([]byte(text)); err != nil || got.UserID != "U" || got.Access.Expiry != 1700000000 {
			t.Errorf("%s: %#v, %v", text, got, err)
		}
	}
	for _, text := range []string{`"user":null`, `"user":{}`, `"user":{"id":null}`} {
		if got, err := ParseToken([]byte(strings.Replace(sdkToken, `"user":{"id":"U"}`, text, 1))); err != nil || got.UserID != "" {
			t.Errorf("%s: %#v, %v", text, got, err)
		}
	}
}

func TestParseTokenFaults(t *testing.T) {
	for text, want := range map[string][]string{
		"":       {"it is empty"},
		" \n":    {"it is empty"},
		"{":      {"it is not JSON (see byte 1)"},
		"SECRET": {"it is not JSON (see byte 1)"},
		"[]":     {notAnObject(nil)},
		"null":   {notAnObject(nil)},
		"{}":     {"accessToken is missing", "refreshToken is missing"},
		`{"accessToken":"SECRET","refreshToken":{"value":7}}`:                                                {"accessToken is not an object", "refreshToken.value is empty or no text", "refreshToken.expiry is missing"},
		`{"accessToken":{"value":"","expiry":"SECRET"},"refreshToken":{"expiry":-1}}`:                        {"accessToken.value is empty or no text", "accessToken.expiry is not a number", "refreshToken.value is missing", "refreshToken.expiry is not a time in seconds since 1970"},
		strings.Replace(sdkToken, `"C"`, `7`, 1):                                                             {"consentid is not a text"},
		strings.Replace(sdkToken, `{"id":"U"}`, `"U"`, 1):                                                    {"user is not an object"},
		strings.Replace(sdkToken, `{"id":"U"}`, `{"id":7}`, 1):                                               {"user.id is not a text"},
		strings.Replace(sdkToken, `"user"`, `"postbox":{"id":"B"},"user"`, 1):                                {"postbox has no id or no publicKey"},
		strings.Replace(sdkToken, "1700000000", `"1700000000"`, 1):                                           {"accessToken.expiry is not a number"},
		strings.Replace(strings.Replace(sdkToken, "1700000000", "0", 1), "1800000000", "99999999999", 1):     {"accessToken.expiry is not a time in seconds since 1970", "refreshToken.expiry is not a time in seconds since 1970"},
		`{"access_token":{"value":"SECRET","expires_on":1700000000},"refresh_token":{"value":"SECRET"}}`:     {"accessToken is missing", "refreshToken is missing"},
		`{"accessToken":{"value":"SECRET","expiry":1e999},"refreshToken":{"value":"x","expiry":1700000000}}`: {"accessToken.expiry is not a time in seconds since 1970"},
	} {
		_, err := ParseToken([]byte(text))
		var faults *TokenError
		if !errors.As(err, &faults) || !reflect.DeepEqual(faults.Faults, want) {
			t.Errorf("%s:\n got %v\nwant %q", text, err, want)
		} else if strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q quotes the input", err)
		}
	}
}

// A broken token is never written over a good one.
func TestBrokenTokenIsNotWritten(t *testing.T) {
	for _, broken := range []Token{{}, {Access: TokenPart{"a", 1700000000}}, {Access: TokenPart{"a", 1700000000}, Refresh: TokenPart{"r", 1700000000000}}} {
		if text, err := json.Marshal(broken); err == nil {
			t.Errorf("written as %s", text)
		}
	}
}

func TestTokensAreNotPrinted(t *testing.T) {
	token := Token{TokenPart{"SECRET", 1700000000}, TokenPart{"SECRET", 1700000000}, "U", "C", nil, nil}
	var log lockedBuffer
	for _, handler := range []slog.Handler{slog.NewTextHandler(&log, nil), slog.NewJSONHandler(&log, nil)} {
		slog.New(handler).Info("x", "token", token, "part", token.Access, "pointer", &token, "contract", aContract())
	}
	texts := log.String() + fmt.Sprintf("%v %+v %#v %s %v", token, token, token, token, []Token{token}) + fmt.Sprintf("%+v", &token)
	if strings.Contains(texts, "SECRET") || strings.Contains(texts, testKey().D.String()) {
		t.Errorf("a secret is shown: %s", texts)
	}
	if !strings.Contains(texts, "2023-11-14") {
		t.Errorf("the expiry is not shown: %s", texts)
	}
}

func FuzzToken(f *testing.F) {
	f.Add([]byte(sdkToken))
	f.Add([]byte(`{"accessToken":{"value":"","expiry":"x"},"refreshToken":null,"user":[]}`))
	f.Add([]byte(`{"accessToken":{"value":"a","expiry":1e11},"refreshToken":{"value":"b","expiry":1700000000.9}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		token, err := ParseToken(data)
		if err != nil {
			var faults *TokenError
			if !errors.As(err, &faults) || len(faults.Faults) == 0 || token != (Token{}) {
				t.Fatalf("%v with %v", token, err)
			}
			return
		}
		if token.Access.Value == "" || token.Refresh.Value == "" || !sane(token.Access.Expiry) || !sane(token.Refresh.Expiry) {
			t.Fatalf("%#v is taken", token)
		}
		text, err := json.Marshal(token)
		if err != nil {
			t.Fatal(err)
		}
		if again, err := ParseToken(text); err != nil || again != token {
			t.Fatalf("%#v came back as %#v, %v", token, again, err)
		}
	})
}
