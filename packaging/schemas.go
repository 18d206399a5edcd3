package packaging

import _ "embed"

// The JSON schemas (draft 2020-12) of what people write, made from the program's
// own structs by a test of cmd/digime-sync. They say what a form can say; whether
// names lead anywhere only `digime-sync check` knows.
var (
	// ConfigSchema is that of config.yaml.
	//
	//go:embed schemas/config.schema.json
	ConfigSchema string

	// LayerSchema is that of the files of conf.d, policy.d and a fleet, in which
	// nothing is needed.
	//
	//go:embed schemas/layer.schema.json
	LayerSchema string

	// SidecarSchema is that of FILE.meta.json.
	//
	//go:embed schemas/sidecar.schema.json
	SidecarSchema string
)
