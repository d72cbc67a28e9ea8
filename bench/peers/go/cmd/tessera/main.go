// Command tessera appends events to a Tessera log on a POSIX file system.
package main

import (
	"context"
	"crypto/rand"
	"flag"
	"fmt"
	"log"
	"os"
	"path/filepath"
	"time"

	"github.com/transparency-dev/tessera"
	"github.com/transparency-dev/tessera/storage/posix"
	"golang.org/x/mod/sumdb/note"

	"gallra/bench/peers/internal/figures"
)

const origin = "bench.example/log"

func main() {
	n := flag.Int("n", 100_000, "events")
	batch := flag.Uint("batch", tessera.DefaultBatchMaxSize, "events that are sequenced together")
	inflight := flag.Int("inflight", 16_384, "events added and not yet durable, at most")
	dir := flag.String("dir", "", "folder for the log; a temporary one if empty")
	flag.Parse()
	if *n < 1 || *batch < 1 || *inflight < 1 {
		log.Fatal("-n, -batch and -inflight must be positive")
	}

	folder, remove, err := figures.Folder(*dir)
	if err != nil {
		log.Fatal(err)
	}
	figure, err := run(filepath.Join(folder, "tessera"), *n, int(*batch), *inflight)
	remove()
	if err != nil {
		log.Fatal(err)
	}
	if err := figure.Print(os.Stdout); err != nil {
		log.Fatal(err)
	}
}

// added is an event on its way: its future and when it was handed over.
type added struct {
	future tessera.IndexFuture
	at     time.Time
}

func run(folder string, n, batch, inflight int) (*figures.Figure, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	secret, public, err := note.GenerateKey(rand.Reader, origin)
	if err != nil {
		return nil, err
	}
	signer, err := note.NewSigner(secret)
	if err != nil {
		return nil, err
	}
	driver, err := posix.New(ctx, posix.Config{Path: folder})
	if err != nil {
		return nil, err
	}
	appender, shutdown, reader, err := tessera.NewAppender(ctx, driver, tessera.NewAppendOptions().
		WithCheckpointSigner(signer).
		WithCheckpointInterval(time.Second).
		WithBatching(uint(batch), tessera.DefaultBatchMaxAge).
		WithPushback(uint(2*inflight)))
	if err != nil {
		return nil, err
	}
	awaiter := tessera.NewPublicationAwaiter(ctx, reader.ReadCheckpoint, 10*time.Millisecond)

	entries := make([]*tessera.Entry, n)
	for i, event := range figures.Events(n) {
		entries[i] = tessera.NewEntry(event.Body)
	}

	// One goroutine adds and this one waits, in the same order: the channel bounds what is in flight.
	pending := make(chan added, inflight)
	began := time.Now()
	go func() {
		defer close(pending)
		for _, entry := range entries {
			at := time.Now()
			pending <- added{appender.Add(ctx, entry), at}
		}
	}()
	var batches, waits []time.Duration
	var last tessera.IndexFuture
	mark := began
	for one := range pending {
		if _, err := one.future(); err != nil {
			return nil, err
		}
		now := time.Now()
		waits = append(waits, now.Sub(one.at))
		if len(waits)%batch == 0 {
			batches = append(batches, now.Sub(mark))
			mark = now
		}
		last = one.future
	}
	seconds := time.Since(began).Seconds()
	_, checkpoint, err := awaiter.Await(ctx, last)
	if err != nil {
		return nil, err
	}
	published := time.Since(began).Seconds()
	if err := shutdown(ctx); err != nil {
		return nil, err
	}
	if err := check(checkpoint, public, n); err != nil {
		return nil, err
	}

	settings := fmt.Sprintf(
		"Tessera %s POSIX driver, in process; batches of %d, %d in flight; before a future resolves "+
			"entry bundles, tiles and tree state are written O_SYNC, renamed, and their folder fsynced; no "+
			"antispam, so repeated ids not refused; times per batch, an event waits p50 %.0f p99 %.0f ms; "+
			"checkpoint interval 1 s, all in a signed checkpoint after %.2f s (rate is without that wait)",
		figures.Version("github.com/transparency-dev/tessera"), batch, inflight,
		figures.Percentile(waits, 50), figures.Percentile(waits, 99), published)
	return figures.New(n, seconds, batches, settings), nil
}

// check verifies that the signed checkpoint commits to n entries.
func check(checkpoint []byte, public string, n int) error {
	verifier, err := note.NewVerifier(public)
	if err != nil {
		return err
	}
	opened, err := note.Open(checkpoint, note.VerifierList(verifier))
	if err != nil {
		return err
	}
	var name string
	var size int
	if _, err := fmt.Sscanf(opened.Text, "%s\n%d\n", &name, &size); err != nil {
		return err
	}
	if name != origin || size != n {
		return fmt.Errorf("the checkpoint commits to %d of %d events of %s", size, n, name)
	}
	return nil
}
