// Package figures makes the events that every peer appends and prints what was measured.
package figures

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"os"
	"runtime/debug"
	"slices"
	"time"
)

// Size is the size of an event's body in bytes.
const Size = 500

// Event is one event to append: a unique id and a JSON body of Size bytes.
type Event struct {
	ID   []byte
	Body []byte
}

// Events returns count events, all different.
func Events(count int) []Event {
	events := make([]Event, count)
	for i := range events {
		id := make([]byte, 16)
		_, _ = rand.Read(id) // never fails
		head := fmt.Appendf(nil, `{"id":"%x","number":%d,"action":"compute.server.update","pad":"`, id, i)
		pad := make([]byte, Size-len(head)-2)
		noise := make([]byte, (len(pad)+1)/2)
		_, _ = rand.Read(noise)
		copy(pad, hex.EncodeToString(noise))
		events[i] = Event{id, append(append(head, pad...), `"}`...)}
	}
	return events
}

// Figure is what a run measured.
type Figure struct {
	Events    int     `json:"events"`
	Seconds   float64 `json:"seconds"`
	PerSecond float64 `json:"per_second"`
	P50       float64 `json:"p50_ms"`
	P99       float64 `json:"p99_ms"`
	Settings  string  `json:"settings"`
}

// New returns the figure of a run that appended events in seconds, with the time each batch took.
func New(events int, seconds float64, took []time.Duration, settings string) *Figure {
	return &Figure{
		events, seconds, float64(events) / seconds,
		Percentile(took, 50), Percentile(took, 99), settings,
	}
}

// Print writes the figure as one line of JSON.
func (f *Figure) Print(w io.Writer) error {
	return json.NewEncoder(w).Encode(f)
}

// Percentile returns the p-th percentile (nearest rank) in milliseconds; 0 where nothing took time.
func Percentile(took []time.Duration, p float64) float64 {
	if len(took) == 0 {
		return 0
	}
	sorted := slices.Sorted(slices.Values(took))
	rank := int(math.Ceil(p / 100 * float64(len(sorted))))
	return float64(sorted[max(rank, 1)-1].Microseconds()) / 1000
}

// Folder returns dir, or a new temporary folder if it is empty, and what removes the latter.
func Folder(dir string) (string, func(), error) {
	if dir != "" {
		return dir, func() {}, os.MkdirAll(dir, 0o755)
	}
	dir, err := os.MkdirTemp("", "gallra-bench-")
	return dir, func() { _ = os.RemoveAll(dir) }, err
}

// Version returns the version of a module that this program was built with.
func Version(module string) string {
	info, _ := debug.ReadBuildInfo()
	if info != nil {
		for _, dep := range info.Deps {
			if dep.Path == module {
				return dep.Version
			}
		}
	}
	return "?"
}
