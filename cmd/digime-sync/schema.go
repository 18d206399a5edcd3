package main

import (
	"fmt"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/packaging"
)

func (a *app) schemaCommand() *cobra.Command {
	schemas := map[string]string{"config": packaging.ConfigSchema, "layer": packaging.LayerSchema, "sidecar": packaging.SidecarSchema}
	return &cobra.Command{
		Use: "schema config|layer|sidecar", Short: "Print a JSON schema, for editors and for checking before roll-out",
		Long: "schema prints the JSON schema (draft 2020-12) of config.yaml, of a layer over it (the files of conf.d,\n" +
			"policy.d and a fleet), or of a sidecar. An editor takes it from a line at the top of the file:\n" +
			"  # yaml-language-server: $schema=config.schema.json\n" +
			"in a sidecar from the key \"$schema\". Whether names lead anywhere only digime-sync check knows.",
		Args: cobra.MatchAll(cobra.ExactArgs(1), cobra.OnlyValidArgs), ValidArgs: []string{"config", "layer", "sidecar"},
		RunE: func(_ *cobra.Command, args []string) error {
			_, err := fmt.Fprint(a.out, schemas[args[0]])
			return err
		},
	}
}
