// Command merkle checks a log with the libraries that certificate transparency rests on:
// transparency-dev/merkle for proofs, tessera/client for tiles, formats for checkpoints.
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"gallra/foreign/internal/check"

	"github.com/transparency-dev/formats/log"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/api/layout"
	"github.com/transparency-dev/tessera/client"
)

var hasher = rfc6962.DefaultHasher

func main() { check.Main("merkle", verify) }

func verify(l check.Log) (r check.Result, err error) {
	ctx := context.Background()
	root, err := url.Parse(l.URL)
	if err != nil {
		return r, err
	}
	fetcher, err := client.NewHTTPFetcher(root, &http.Client{Timeout: 30 * time.Second})
	if err != nil {
		return r, err
	}
	now, _, _, err := client.FetchCheckpoint(ctx, fetcher.ReadCheckpoint, l.Key, l.Key.Name())
	if err != nil {
		return r, err
	}
	r.Size = now.Size
	builder, err := client.NewProofBuilder(ctx, now.Size, fetcher.ReadTile)
	if err != nil {
		return r, err
	}
	if err := sound(now); err != nil {
		return r, err
	}
	leaves := &leaves{read: fetcher.ReadEntryBundle, size: now.Size}
	for i := range check.Sample(int64(now.Size)) {
		if err := included(ctx, leaves, builder, now, uint64(i)); err != nil {
			return r, fmt.Errorf("entry %d: %w", i, err)
		}
		r.Inclusion++
	}
	if l.Old != nil {
		if err := extends(ctx, l, builder, now); err != nil {
			return r, fmt.Errorf("older checkpoint: %w", err)
		}
		r.Consistency++
	}
	return r, nil
}

// sound refuses an empty log with a root: no proof would ever meet it.
func sound(c *log.Checkpoint) error {
	if c.Size == 0 && !bytes.Equal(c.Hash, hasher.EmptyRoot()) {
		return errors.New("not the root of an empty tree")
	}
	return nil
}

func included(
	ctx context.Context, leaves *leaves, builder *client.ProofBuilder, now *log.Checkpoint, i uint64,
) error {
	leaf, err := leaves.at(ctx, i)
	if err != nil {
		return err
	}
	path, err := builder.InclusionProof(ctx, i)
	if err != nil {
		return err
	}
	return proof.VerifyInclusion(hasher, i, now.Size, hasher.HashLeaf(leaf), path, now.Hash)
}

func extends(
	ctx context.Context, l check.Log, builder *client.ProofBuilder, now *log.Checkpoint,
) error {
	old, _, _, err := log.ParseCheckpoint(l.Old, l.Key.Name(), l.Key)
	if err != nil {
		return err
	}
	if err := sound(old); err != nil {
		return err
	}
	path, err := builder.ConsistencyProof(ctx, old.Size, now.Size)
	if err != nil {
		return err
	}
	return proof.VerifyConsistency(hasher, old.Size, now.Size, path, old.Hash, now.Hash)
}

// leaves reads the entries of a log in order, each bundle once.
type leaves struct {
	read    client.EntryBundleFetcherFunc
	size    uint64
	entries [][]byte
	next    uint64 // bundle
}

func (l *leaves) at(ctx context.Context, index uint64) ([]byte, error) {
	n, offset := index/layout.EntryBundleWidth, index%layout.EntryBundleWidth
	if n >= l.next {
		bundle, err := client.GetEntryBundle(ctx, l.read, n, l.size)
		if err != nil {
			return nil, err
		}
		l.entries, l.next = bundle.Entries, n+1
	}
	if offset >= uint64(len(l.entries)) {
		return nil, fmt.Errorf("its bundle has %d entries", len(l.entries))
	}
	return l.entries[offset], nil
}
