// Package check is what our two programs have in common: flags, a sample, a line at the end.
package check

import (
	"flag"
	"fmt"
	"iter"
	"os"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

const (
	few    = 2000 // entries, and every one of them is checked
	sample = 500
)

// Log is what is to be checked.
type Log struct {
	URL string
	Key note.Verifier
	Old []byte // an older signed checkpoint of it, if any
}

// Result says how much of a log was found to be sound.
type Result struct {
	Size                   uint64
	Inclusion, Consistency int
}

// Main runs verify on the log that the command line names, and reports as program name.
func Main(name string, verify func(Log) (Result, error)) {
	r, err := run(verify)
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", name, err)
		os.Exit(1)
	}
	fmt.Printf("%s: ok size=%d inclusion=%d consistency=%d\n",
		name, r.Size, r.Inclusion, r.Consistency)
}

func run(verify func(Log) (Result, error)) (Result, error) {
	url := flag.String("url", "", "address of the log, up to /log")
	vkey := flag.String("vkey", "", "verifier key of the log")
	old := flag.String("old", "", "file with an older signed checkpoint")
	flag.Parse()

	key, err := note.NewVerifier(*vkey)
	if err != nil {
		return Result{}, err
	}
	l := Log{URL: strings.TrimSuffix(*url, "/"), Key: key}
	if *old != "" {
		if l.Old, err = os.ReadFile(*old); err != nil {
			return Result{}, err
		}
	}
	return verify(l)
}

// Sample yields the entries to check in a log of size: the first, the last, and many between.
func Sample(size int64) iter.Seq[int64] {
	count := size
	if size > few {
		count = sample
	}
	return func(yield func(int64) bool) {
		for i := range count {
			if size > few {
				i = i * (size - 1) / (count - 1)
			}
			if !yield(i) {
				return
			}
		}
	}
}
