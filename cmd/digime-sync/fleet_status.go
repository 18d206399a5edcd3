package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/digime-sync/digime-sync/store"
)

const (
	maxReport  = 64 << 10 // bytes
	maxReports = 100_000
	// silentAtLeast is how long a machine may be silent whatever its interval is.
	silentAtLeast = 10 * time.Minute
)

// machine is one line of fleet status.
type machine struct {
	File   string         `json:"file"`
	Host   string         `json:"host"`
	Rank   int            `json:"-"`     // the higher, the worse
	State  string         `json:"state"` // unreadable, silent, trouble or ok
	Why    []string       `json:"why"`
	Report *machineReport `json:"report"`
}

// The states of a machine, the worst first.
const (
	machineUnreadable = "unreadable"
	machineSilent     = "silent"
	machineTrouble    = "trouble"
	machineOK         = "ok"
)

func (a *app) fleetStatusCommand() *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use: "status FOLDER|URL", Short: "How all machines stand, worst first",
		Long: "status reads the reports that the machines put to report_to. Of a URL it reads URL/index.json, a list of\n" +
			"the reports' names, as [\"pc-17.json\"]. It ends with exit code 3 when a machine needs a person, has been\n" +
			"silent for long, or has a report that cannot be read, and when there is no report at all.",
		Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error { return a.fleetStatus(args[0], asJSON) },
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func (a *app) fleetStatus(place string, asJSON bool) error {
	ctx, stop := interruptible()
	defer stop()
	list, err := a.readReports(ctx, place)
	if err != nil {
		return err
	}
	worstFirst(list)
	bad := len(list) == 0 || slices.ContainsFunc(list, func(m machine) bool { return m.State != machineOK })
	if asJSON {
		if list == nil {
			list = []machine{}
		}
		err = a.printJSON(map[string]any{"ok": !bad, "machines": list})
	} else {
		a.printMachines(list)
	}
	switch {
	case err != nil:
		return err
	case len(list) == 0: // a wrong path must not look as if all was well
		return failure(exitHeld, "name the folder that report_to names, and look whether the machines can write there", "there is no machine's report in %s", plain(shownURL(place)))
	case bad:
		return errHeld
	}
	return nil
}

// errReportsUnread ends a look that somebody has broken off: half of the machines
// must not look like all of them.
var errReportsUnread = errors.New("read reports: interrupted")

// readReports reads every report there is. A bad one is a machine in trouble,
// and no reason not to show the others.
func (a *app) readReports(ctx context.Context, place string) ([]machine, error) {
	read, names, err := a.reportsAt(ctx, place)
	if err != nil {
		return nil, err
	}
	now := time.Now()
	var list []machine
	for _, name := range names {
		data, err := read(name)
		if ctx.Err() != nil {
			return nil, errReportsUnread
		}
		list = append(list, judge(name, data, err, now))
	}
	return list, nil
}

// reportsAt lists the reports in a folder, or those that a server's index names.
func (a *app) reportsAt(ctx context.Context, place string) (read func(string) ([]byte, error), names []string, err error) {
	if !isURL(place) {
		return reportsOnShare(ctx, strings.TrimPrefix(place, "file://"))
	}
	cfg, err := loadLocal(a.config())
	if err != nil {
		cfg = &Config{} // whoever looks at a fleet need not belong to it
	}
	client, err := fleetClient(cfg)
	if err != nil {
		return nil, nil, err
	}
	source := webSource(client, strings.TrimSuffix(place, "/")+"/")
	data, _, err := source(ctx, "index.json", 16<<20, "")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, nil, failure(exitError, "check the address and the network", "read reports: %w", err)
	}
	if err == nil {
		err = json.Unmarshal(data, &names)
	}
	if err != nil {
		return nil, nil, failure(exitError, `let the server make it: a list of the reports' names, as ["pc-17.json"]`, "read reports: index.json: %w", err)
	}
	slices.Sort(names)
	names = slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "index.json" })
	return func(name string) ([]byte, error) {
		data, _, err := source(ctx, name, maxReport, "")
		return data, err
	}, names[:min(len(names), maxReports)], nil
}

// reportsOnShare lists the reports in a folder.
func reportsOnShare(ctx context.Context, dir string) (read func(string) ([]byte, error), names []string, err error) {
	listed := make(chan []os.DirEntry, 1)
	err = onShare(ctx, dir, func() error {
		entries, err := os.ReadDir(dir)
		listed <- entries
		return err
	})
	switch {
	case ctx.Err() != nil:
		return nil, nil, errReportsUnread
	case errors.Is(err, fs.ErrNotExist):
		err = fmt.Errorf("there is no folder %s", plain(dir))
		fallthrough
	case err != nil:
		return nil, nil, failure(exitError, "name the folder that report_to names", "read reports: %w", err)
	}
	for _, e := range <-listed {
		if strings.HasSuffix(e.Name(), ".json") && !strings.HasPrefix(e.Name(), ".") && e.Name() != "index.json" {
			names = append(names, e.Name())
		}
	}
	source := shareSource(dir)
	return func(name string) ([]byte, error) {
		data, _, err := source(ctx, name, maxReport, "")
		return data, err
	}, names, nil
}

// judge says how a machine stands by its report.
func judge(name string, data []byte, err error, now time.Time) machine {
	m := machine{File: name, Host: strings.TrimSuffix(name, ".json"), State: machineUnreadable, Rank: 1000, Why: []string{}}
	var r machineReport
	if err == nil && json.Unmarshal(data, &r) != nil {
		err = errors.New("it is not a report, or half-written")
	}
	switch {
	case err != nil:
		m.Why = []string{"its report cannot be read: " + plainLine(err.Error())}
		return m
	case r.Host != m.Host:
		m.Why = []string{fmt.Sprintf("its report is that of another machine, %q", plainLine(r.Host))}
		return m
	case r.Time.IsZero() || r.Every <= 0:
		m.Why = []string{"its report does not say when it is of"}
		return m
	}
	m.Report, m.State, m.Rank, m.Why = &r, machineOK, 0, append(m.Why, r.Trouble...)
	needs := r.Files[store.Held] + r.Files[store.Refused]
	if needs > 0 {
		m.Why = append(m.Why, fmt.Sprintf("files that are held or refused: %d", needs))
	}
	if len(m.Why) > 0 {
		m.State, m.Rank = machineTrouble, min(100+10*len(m.Why)+min(needs, 9), 499)
	}
	silent := now.Sub(r.Time)
	switch {
	case silent > max(3*time.Duration(r.Every)*time.Second, silentAtLeast):
		m.State, m.Rank = machineSilent, 500
		m.Why = append([]string{"silent for " + roughly(silent)}, m.Why...)
	case silent < -silentAtLeast:
		m.State, m.Rank = machineTrouble, max(m.Rank, 100)
		m.Why = append(m.Why, "its report is of the future, "+roughly(-silent)+" from now: its clock or ours is wrong")
	}
	return m
}

// roughly is a long time in the words of people.
func roughly(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return strconv.Itoa(int(d.Hours()/24)) + " days"
	case d >= 2*time.Hour:
		return strconv.Itoa(int(d.Hours())) + " hours"
	}
	return strconv.Itoa(int(d.Minutes())) + " minutes"
}

func worstFirst(list []machine) {
	slices.SortFunc(list, func(a, b machine) int {
		return cmp.Or(cmp.Compare(b.Rank, a.Rank), cmp.Compare(a.Host, b.Host))
	})
}

func (a *app) printMachines(list []machine) {
	counts := map[string]int{}
	for _, m := range list {
		counts[m.State]++
		fmt.Fprintf(a.out, "%-10s %-20s", m.State, plain(m.Host))
		if r := m.Report; r != nil {
			fmt.Fprintf(a.out, " %s, %d delivered, %d waiting", plainLine(r.Version), r.Files[store.Delivered], r.Files[store.Queued]+r.Files[store.Retrying])
			if r.LastDelivered != nil {
				fmt.Fprintf(a.out, ", last delivered %s", minute(r.LastDelivered))
			}
			if r.OldestQueued != nil {
				fmt.Fprintf(a.out, ", oldest waiting since %s", minute(r.OldestQueued))
			}
		}
		fmt.Fprintln(a.out)
		for _, why := range m.Why {
			fmt.Fprintf(a.out, "           why: %s\n", plainLine(why))
		}
	}
	fmt.Fprintf(a.out, "machines: %d, of them %d ok, %d in trouble, %d silent, %d unreadable\n", len(list),
		counts[machineOK], counts[machineTrouble], counts[machineSilent], counts[machineUnreadable])
}

// plainLine is what a file of another machine says, on one line.
func plainLine(s string) string {
	return plain(strings.ReplaceAll(s, "\n", " "))
}
