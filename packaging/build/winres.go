package main

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/color"
	"math"
	"os"

	"github.com/tc-hib/winres"
	"github.com/tc-hib/winres/version"
)

// english is the language of the resources (LANGID, en-US).
const english = 0x409

// addResources gives a Windows program its icon, its version, and the manifest
// that lets it use long paths and asks for no rights.
func (b *build) addResources(path string) error {
	rs, err := b.resources()
	if err != nil {
		return fmt.Errorf("make resources: %w", err)
	}
	program, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("add resources: %w", err)
	}
	var out bytes.Buffer
	if err := rs.WriteToEXE(&out, bytes.NewReader(program)); err != nil {
		return fmt.Errorf("add resources: %w", err)
	}
	if err := os.WriteFile(path, out.Bytes(), 0o755); err != nil {
		return fmt.Errorf("add resources: %w", err)
	}
	return nil
}

func (b *build) resources() (*winres.ResourceSet, error) {
	rs := &winres.ResourceSet{}
	icon, err := programIcon()
	if err != nil {
		return nil, err
	}
	info := version.Info{}
	info.SetFileVersion(b.version)
	info.SetProductVersion(b.version)
	var faults []error
	for key, value := range map[string]string{
		version.CompanyName: "digi.me", version.ProductName: "digi.me Sync", version.FileDescription: "digi.me Sync",
		version.OriginalFilename: "digime-sync.exe", version.InternalName: "digime-sync", version.Comments: b.commit,
		version.FileVersion: b.version, version.ProductVersion: b.version,
	} {
		faults = append(faults, info.Set(english, key, value))
	}
	rs.SetManifest(winres.AppManifest{
		Description: "digi.me Sync", LongPathAware: true, ExecutionLevel: winres.AsInvoker, Compatibility: winres.Win10AndAbove,
	})
	rs.SetVersionInfo(info)
	return rs, errors.Join(append(faults, rs.SetIcon(winres.Name("APPICON"), icon))...)
}

// programIcon is a disc with an arrow into it, drawn in the sizes Windows asks for.
func programIcon() (*winres.Icon, error) {
	var images []image.Image
	for _, size := range []int{16, 32, 48, 256} {
		images = append(images, drawIcon(size))
	}
	return winres.NewIconFromImages(images)
}

// drawIcon takes sixteen samples a pixel, for smooth edges.
func drawIcon(size int) image.Image {
	const fine = 4
	img := image.NewNRGBA(image.Rect(0, 0, size, size))
	for y := range size {
		for x := range size {
			disc, arrow := 0, 0
			for i := range fine * fine {
				u := (float64(x) + (float64(i%fine)+0.5)/fine) / float64(size)
				v := (float64(y) + (float64(i/fine)+0.5)/fine) / float64(size)
				switch {
				case inArrow(u, v):
					arrow++
				case math.Hypot(u-0.5, v-0.5) < 0.48:
					disc++
				}
			}
			img.SetNRGBA(x, y, blend(disc, arrow, fine*fine))
		}
	}
	return img
}

// blend mixes the disc's blue and the arrow's white by their shares of a pixel.
func blend(disc, arrow, all int) color.NRGBA {
	if disc+arrow == 0 {
		return color.NRGBA{}
	}
	mix := func(d, a int) uint8 { return uint8((d*disc + a*arrow) / (disc + arrow)) }
	return color.NRGBA{R: mix(0x12, 0xff), G: mix(0x5e, 0xff), B: mix(0xa8, 0xff), A: uint8(255 * (disc + arrow) / all)}
}

// inArrow says whether a point of the unit square is in the arrow, which points
// down onto a bar.
func inArrow(u, v float64) bool {
	off := math.Abs(u - 0.5)
	shaft := off < 0.07 && v > 0.18 && v < 0.45
	head := v >= 0.42 && v < 0.66 && off < (0.66-v)*0.9
	bar := off < 0.24 && v > 0.72 && v < 0.80
	return shaft || head || bar
}
