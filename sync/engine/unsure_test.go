package engine

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

	"github.com/digime-sync/digime-sync/store"
	"github.com/digime-sync/digime-sync/sync/digime/sandbox"
)

// A gateway that has lost the service's answer to a whole file holds nothing,
// in a folder that holds what is in doubt, too; but the receipt says then that
// the file may have arrived twice, across restarts.
func TestGatewayThatLostTheAnswer(t *testing.T) {
	t.Parallel()
	for status, double := range map[int]bool{502: true, 504: true, 500: false, 503: false, 408: false} {
		t.Run(fmt.Sprint(status), func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(f *Folder) { f.InDoubt = "hold" }, "alice")
			r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: status, AfterBody: true})
			path := r.drop("alice", "a.txt", "content")
			r.once()
			f, _, err := r.store.Get(path)
			if shown := r.state(path); err != nil || f.State != store.Retrying || f.Doubts != 0 || f.Doubtful != double || shown.MayBeDouble {
				t.Fatalf("%+v, shown as %+v, %v", f, shown, err)
			}
			r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 503})
			r.restart()
			r.start()
			if shown := r.untilState(path, store.Delivered); shown.MayBeDouble != double {
				t.Errorf("%+v", shown)
			}
			r.until("the receipt is there", func() bool { return exist(path + ReceiptSuffix) })
			if receipt := r.receipt(path); receipt.MayBeDouble != double {
				t.Errorf("%+v", receipt)
			}
		})
	}
}

// That is known still when the file has another name by then, or the database is
// made anew.
func TestGatewaysAnswerOutlivesNameAndDatabase(t *testing.T) {
	t.Parallel()
	for name, between := range map[string]func(r *rig, path string) string{
		"renamed": func(r *rig, path string) string {
			to := filepath.Join(filepath.Dir(path), "b.txt")
			must(r.t, os.Rename(path+".meta.json", to+".meta.json"))
			must(r.t, os.Rename(path, to))
			r.restart()
			return to
		},
		"without a database": func(r *rig, path string) string {
			r.close()
			must(r.t, os.Remove(filepath.Join(r.dir, "state", "state.db")))
			r.open()
			return path
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := newRig(t, func(f *Folder) { f.InDoubt = "hold" }, "alice")
			r.api.Fail(sandbox.Fault{Kind: sandbox.ReqPush, Do: sandbox.DoRefuse, Status: 504, AfterBody: true})
			path := r.drop("alice", "a.txt", "content")
			r.once()
			path = between(r, path)
			r.start()
			r.untilState(path, store.Delivered)
			r.until("the receipt is there", func() bool { return exist(path + ReceiptSuffix) })
			if receipt := r.receipt(path); !receipt.MayBeDouble {
				t.Errorf("%+v", receipt)
			}
		})
	}
}
