package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/goreleaser/nfpm/v2"
	_ "github.com/goreleaser/nfpm/v2/deb" // the form .deb
	"github.com/goreleaser/nfpm/v2/files"
	_ "github.com/goreleaser/nfpm/v2/rpm" // the form .rpm
)

const (
	maintainer = "The digime-sync authors <digime-sync@users.noreply.github.com>"
	homepage   = "https://github.com/digime-sync/digime-sync"
	summary    = "push files dropped into folders into people's digi.me libraries"
	// account is the user, and the group, that the service runs as.
	account = "digime-sync"
)

var linuxArchs = []string{"amd64", "arm64"}

func (b *build) deb() error {
	return b.linuxPackages("deb", nfpm.Scripts{
		PreInstall: b.source("linux/user.sh"), PostInstall: b.source("linux/deb/postinst"),
		PreRemove: b.source("linux/deb/prerm"), PostRemove: b.source("linux/deb/postrm"),
	})
}

func (b *build) rpm() error {
	return b.linuxPackages("rpm", nfpm.Scripts{
		PreInstall: b.source("linux/user.sh"), PostInstall: b.source("linux/rpm/post"),
		PreRemove: b.source("linux/rpm/preun"), PostRemove: b.source("linux/rpm/postun"),
	})
}

// source returns the path of a file below packaging.
func (b *build) source(name string) string {
	return filepath.Join(b.root, "packaging", filepath.FromSlash(name))
}

// linuxPackages writes the packages of one form, for all architectures.
func (b *build) linuxPackages(form string, scripts nfpm.Scripts) error {
	for _, arch := range linuxArchs {
		contents, err := b.linuxContents(form, arch)
		if err != nil {
			return err
		}
		info := nfpm.WithDefaults(&nfpm.Info{
			Name: "digime-sync", Arch: arch, Platform: "linux", Version: b.version, Release: "1", Section: "net", Priority: "optional",
			Maintainer: maintainer, Vendor: "digime-sync", Homepage: homepage, License: "Apache-2.0", MTime: b.mtime, DisableGlobbing: true,
			Description: summary + "\nPeople and programs drop files into folders on this machine, each with a\n" +
				"small sidecar that says whose it is. digime-sync pushes every new file, once,\n" +
				"into the right person's digi.me library, keeps the consent tokens alive on\nthe way, and says what became of each file beside it.",
			Overridables: nfpm.Overridables{
				Contents: contents, Scripts: scripts, Depends: []string{"ca-certificates"},
				Deb: nfpm.Deb{Predepends: []string{"passwd"}},
				RPM: nfpm.RPM{BuildHost: "reproducible", Group: "System Environment/Daemons", Summary: summary},
			},
		})
		if form == "rpm" {
			info.Depends = append(info.Depends, "/usr/sbin/useradd", "systemd")
		} else {
			info.Recommends = []string{"systemd"}
		}
		if err := b.pack(form, info); err != nil {
			return fmt.Errorf("make the %s of %s: %w", form, arch, err)
		}
	}
	return nil
}

// pack writes one package.
func (b *build) pack(form string, info *nfpm.Info) error {
	packager, err := nfpm.Get(form)
	if err != nil {
		return fmt.Errorf("find the packager: %w", err)
	}
	if err := nfpm.PrepareForPackager(info, form); err != nil {
		return fmt.Errorf("prepare: %w", err)
	}
	f, err := os.Create(b.product(packager.ConventionalFileName(info)))
	if err != nil {
		return fmt.Errorf("create: %w", err)
	}
	if err := packager.Package(info, f); err != nil {
		_ = f.Close() // the fault before is what matters
		return fmt.Errorf("write: %w", err)
	}
	return f.Close()
}

// linuxContents are the files of a package. Owners are names: the account is
// made before they are unpacked.
func (b *build) linuxContents(form, arch string) (files.Contents, error) {
	program, err := b.binary("linux", arch)
	if err != nil {
		return nil, err
	}
	contents := files.Contents{
		owned("root", "/usr/bin/digime-sync", program, "", 0o755),
		owned("root", "/usr/lib/systemd/system/digime-sync.service", b.source("linux/digime-sync.service"), "", 0o644),
		owned("root", "/usr/lib/systemd/system/digime-sync-configure.service", b.source("linux/digime-sync-configure.service"), "", 0o644),
		owned("root", "/usr/lib/systemd/system/digime-sync-configure.path", b.source("linux/digime-sync-configure.path"), "", 0o644),
		owned("root", "/etc/digime-sync", "", files.TypeDir, 0o750),
		owned("root", "/etc/digime-sync/conf.d", "", files.TypeDir, 0o750),
		owned("root", "/etc/digime-sync/policy.d", "", files.TypeDir, 0o750),
		owned("root", "/etc/digime-sync/config.yaml", b.source("config.yaml"), files.TypeConfigNoReplace, 0o640),
		owned(account, "/var/lib/digime-sync", "", files.TypeDir, 0o700),
	}
	for _, c := range contents {
		if strings.HasPrefix(c.Destination, "/etc/") || c.Destination == "/var/lib/digime-sync" {
			c.FileInfo.Group = account
		}
	}
	docs, err := b.linuxDocs(form)
	return append(contents, docs...), err
}

// owned is an entry of a package that belongs to owner and root's group.
func owned(owner, destination, source, kind string, mode os.FileMode) *files.Content {
	return &files.Content{Source: source, Destination: destination, Type: kind,
		FileInfo: &files.ContentFileInfo{Owner: owner, Group: "root", Mode: mode}}
}

// linuxDocs are manual pages, completions, and what each form of package wants
// to say about itself.
func (b *build) linuxDocs(form string) (files.Contents, error) {
	docs, err := b.docs()
	if err != nil {
		return nil, err
	}
	plain := func(destination, source string) *files.Content { return owned("root", destination, source, "", 0o644) }
	zsh := "/usr/share/zsh/vendor-completions/_digime-sync"
	if form == "rpm" {
		zsh = "/usr/share/zsh/site-functions/_digime-sync"
	}
	completions := filepath.Join(docs, "completions")
	contents := files.Contents{
		plain("/usr/share/bash-completion/completions/digime-sync", filepath.Join(completions, "digime-sync.bash")),
		plain(zsh, filepath.Join(completions, "_digime-sync")),
		plain("/usr/share/fish/vendor_completions.d/digime-sync.fish", filepath.Join(completions, "digime-sync.fish")),
	}
	notices, err := b.notices()
	if err != nil {
		return nil, err
	}
	contents = append(contents, plain("/usr/share/doc/digime-sync/THIRD-PARTY.txt", notices))
	pages, err := filepath.Glob(filepath.Join(docs, "man", "*.1"))
	if err != nil {
		return nil, fmt.Errorf("list manual pages: %w", err)
	}
	for _, page := range pages {
		packed, err := b.gzipped(page)
		if err != nil {
			return nil, err
		}
		contents = append(contents, plain("/usr/share/man/man1/"+filepath.Base(packed), packed))
	}
	if form == "rpm" {
		return append(contents, plain("/usr/lib/systemd/system-preset/50-digime-sync.preset", b.source("linux/digime-sync.preset")),
			plain("/usr/share/licenses/digime-sync/LICENSE", filepath.Join(b.root, "LICENSE"))), nil
	}
	changelog, err := b.gzippedText("changelog.Debian", b.debianChangelog())
	if err != nil {
		return nil, err
	}
	return append(contents, plain("/usr/share/doc/digime-sync/changelog.Debian.gz", changelog),
		plain("/usr/share/doc/digime-sync/copyright", b.source("linux/deb/copyright")),
		plain("/usr/share/lintian/overrides/digime-sync", b.source("linux/deb/lintian-overrides"))), nil
}
