package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"errors"
	"fmt"
	"os"
	"time"

	cdx "github.com/CycloneDX/cyclonedx-go"
)

// sboms writes for each system what the program is made of, in CycloneDX 1.6
// (https://cyclonedx.org/docs/1.6/json/), as the program itself tells.
func (b *build) sboms() error {
	for _, p := range platforms {
		program, err := b.binary(p.os, p.arch)
		if err != nil {
			return err
		}
		bom, err := b.billOf(program)
		if err != nil {
			return fmt.Errorf("read what %s is made of: %w", program, err)
		}
		f, err := os.Create(b.product(fmt.Sprintf("digime-sync_%s_%s_%s.cdx.json", b.version, p.os, p.arch)))
		if err != nil {
			return fmt.Errorf("create SBOM: %w", err)
		}
		encoder := cdx.NewBOMEncoder(f, cdx.BOMFileFormatJSON).SetPretty(true)
		if err := errors.Join(encoder.EncodeVersion(bom, cdx.SpecVersion1_6), f.Close()); err != nil {
			return fmt.Errorf("write SBOM: %w", err)
		}
	}
	return nil
}

// billOf lists the modules of a program and Go's standard library. The checksums
// go.sum knows them by are of a form of their own and thus properties.
func (b *build) billOf(program string) (*cdx.BOM, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("read build information: %w", err)
	}
	data, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("read program: %w", err)
	}
	product := cdx.Component{
		BOMRef: "digime-sync", Type: cdx.ComponentTypeApplication, Name: "digime-sync", Version: b.version,
		PackageURL: "pkg:golang/" + info.Main.Path + "@v" + b.version,
		Licenses:   &cdx.Licenses{{License: &cdx.License{ID: "Apache-2.0"}}},
		Hashes:     &[]cdx.Hash{{Algorithm: cdx.HashAlgoSHA256, Value: fmt.Sprintf("%x", sha256.Sum256(data))}},
		Properties: &[]cdx.Property{{Name: "vcs.revision", Value: b.commit}},
	}
	components := []cdx.Component{{
		BOMRef: "pkg:golang/std@" + info.GoVersion, Type: cdx.ComponentTypeLibrary, Name: "std", Version: info.GoVersion,
		PackageURL: "pkg:golang/std@" + info.GoVersion,
	}}
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		purl := "pkg:golang/" + m.Path + "@" + m.Version
		components = append(components, cdx.Component{
			BOMRef: purl, Type: cdx.ComponentTypeLibrary, Name: m.Path, Version: m.Version, PackageURL: purl,
			Properties: &[]cdx.Property{{Name: "go.sum", Value: m.Sum}},
		})
	}
	var uses []string
	for _, c := range components {
		uses = append(uses, c.BOMRef)
	}
	bom := cdx.NewBOM()
	bom.Metadata = &cdx.Metadata{Timestamp: b.mtime.Format(time.RFC3339), Component: &product}
	bom.Components = &components
	bom.Dependencies = &[]cdx.Dependency{{Ref: product.BOMRef, Dependencies: &uses}}
	return bom, nil
}
