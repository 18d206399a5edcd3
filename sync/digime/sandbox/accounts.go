package sandbox

// account is one of the accounts in a user's library, with the fields the SDK requires (Node.js read-accounts.ts).
type account struct {
	ID        string `json:"id"`
	Reference string `json:"reference"`
}
