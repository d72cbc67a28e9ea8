// Command immudb appends events to an immudb server, over gRPC on the loopback interface.
//
// Server and clients share this process; the server's settings are its defaults, so every
// transaction is fsynced before it is acknowledged.
package main

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"io"
	"log"
	"net"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/codenotary/immudb/embedded/logger"
	"github.com/codenotary/immudb/pkg/api/schema"
	"github.com/codenotary/immudb/pkg/client"
	"github.com/codenotary/immudb/pkg/server"

	"gallra/bench/peers/internal/figures"
)

func main() {
	n := flag.Int("n", 50_000, "events")
	batch := flag.Int("batch", 1000, "events a transaction; immudb takes 1,024 at most")
	workers := flag.Int("workers", 1, "clients that append at the same time; immudb takes 30 at most")
	dir := flag.String("dir", "", "folder for the data; a temporary one if empty")
	index := flag.Bool("index", false, "wait until every transaction is indexed, too")
	flag.Parse()
	if *n < 1 || *batch < 1 || *workers < 1 {
		log.Fatal("-n, -batch and -workers must be positive")
	}

	out := os.Stdout
	os.Stdout = os.Stderr // the server greets on standard output
	folder, remove, err := figures.Folder(*dir)
	if err != nil {
		log.Fatal(err)
	}
	figure, err := run(folder, *n, *batch, *workers, *index)
	remove()
	if err != nil {
		log.Fatal(err)
	}
	if err := figure.Print(out); err != nil {
		log.Fatal(err)
	}
}

func run(folder string, n, batch, workers int, index bool) (*figures.Figure, error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	options := server.DefaultOptions().
		WithDir(filepath.Join(folder, "data")).
		WithLogDir(filepath.Join(folder, "log")).
		WithListener(listener).
		WithMetricsServer(false).
		WithWebServer(false).
		WithSynced(true)
	quiet := logger.NewSimpleLoggerWithLevel("immudb ", io.Discard, logger.LogError)
	immudb := server.DefaultServer().WithOptions(options).WithLogger(quiet).(*server.ImmuServer)
	if err := immudb.Initialize(); err != nil {
		return nil, err
	}
	stopped := make(chan error, 1)
	go func() { stopped <- immudb.Start() }()
	defer func() {
		_ = immudb.Stop()
		<-stopped
	}()

	ctx := context.Background()
	clients := make([]client.ImmuClient, workers)
	for i := range clients {
		c := client.NewClient().WithOptions(client.DefaultOptions().
			WithPort(listener.Addr().(*net.TCPAddr).Port).
			WithDir(filepath.Join(folder, fmt.Sprintf("client-%d", i))))
		if err := c.OpenSession(ctx, []byte("immudb"), []byte("immudb"), "defaultdb"); err != nil {
			return nil, err
		}
		defer c.CloseSession(ctx)
		clients[i] = c
	}
	before, err := clients[0].CurrentState(ctx)
	if err != nil {
		return nil, err
	}

	events := figures.Events(n)
	var requests []*schema.SetRequest
	for start := 0; start < n; start += batch {
		request := &schema.SetRequest{NoWait: !index}
		for _, event := range events[start:min(start+batch, n)] {
			request.KVs = append(request.KVs, &schema.KeyValue{Key: event.ID, Value: event.Body})
		}
		requests = append(requests, request)
	}

	took := make([]time.Duration, len(requests))
	failed := make([]error, workers)
	var next atomic.Int64
	var group sync.WaitGroup
	began := time.Now()
	for i, c := range clients {
		group.Add(1)
		go func() {
			defer group.Done()
			for {
				r := int(next.Add(1)) - 1
				if r >= len(requests) {
					return
				}
				sent := time.Now()
				if _, failed[i] = c.SetAll(ctx, requests[r]); failed[i] != nil {
					return
				}
				took[r] = time.Since(sent)
			}
		}()
	}
	group.Wait()
	seconds := time.Since(began).Seconds()
	for _, err := range failed {
		if err != nil {
			return nil, err
		}
	}

	after, err := clients[0].CurrentState(ctx)
	if err != nil {
		return nil, err
	}
	if committed := after.TxId - before.TxId; committed != uint64(len(requests)) {
		return nil, fmt.Errorf("%d of %d transactions were committed", committed, len(requests))
	}
	last := events[n-1]
	entry, err := clients[0].Get(ctx, last.ID)
	if err != nil {
		return nil, err
	}
	if !bytes.Equal(entry.Value, last.Body) {
		return nil, fmt.Errorf("the last event is not what was appended")
	}

	waits := "answered once committed, not indexed"
	if index {
		waits = "answered once committed and indexed"
	}
	settings := fmt.Sprintf(
		"immudb %s server, gRPC over loopback, same process; SetAll of %d, %d clients; synced: value, "+
			"transaction and commit log fsynced before an answer, sync frequency 20 ms (default); %s; "+
			"repeated ids not refused; times per batch",
		figures.Version("github.com/codenotary/immudb"), batch, workers, waits)
	return figures.New(n, seconds, took, settings), nil
}
