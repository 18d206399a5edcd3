package digime

import (
	"context"
)

// ways are all ways to push; what holds for one must hold for each.
var ways = map[string]func(*Client, context.Context, Contract, string, Upload) error{
	"library": (*Client).Push,
	"provider": func(c *Client, ctx context.Context, k Contract, access string, u Upload) error {
		return c.PushProvider(ctx, k, access, Provider{AccountID: "1_1", Version: "stu3"}, u)
	},
	"postbox": func(c *Client, ctx context.Context, k Contract, access string, u Upload) error {
		k.RedirectURI = "http://localhost:1/callback"
		return c.PushPostbox(ctx, k, access, PostboxAddress{ID: "box", Key: &serviceKey().PublicKey}, "report.pdf", u)
	},
}
