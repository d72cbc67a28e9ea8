// Command sumdb checks a log with golang.org/x/mod/sumdb, on which Go's module checksums rest.
package main

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"gallra/foreign/internal/check"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

const (
	height = 8
	width  = 1 << height
)

var client = &http.Client{Timeout: 30 * time.Second}

func main() { check.Main("sumdb", verify) }

func verify(l check.Log) (r check.Result, err error) {
	files := &files{url: l.URL, known: map[string][]byte{}}
	signed, err := files.read("checkpoint")
	if err != nil {
		return r, err
	}
	tree, err := open(signed, l.Key)
	if err != nil {
		return r, err
	}
	r.Size = uint64(tree.N)
	hashes := tlog.TileHashReader(tree, files)
	if root, err := tlog.TreeHash(tree.N, hashes); err != nil {
		return r, err
	} else if root != tree.Hash {
		return r, errors.New("the tiles do not lead to the root")
	}
	for i := range check.Sample(tree.N) {
		if err := included(files, hashes, tree, i); err != nil {
			return r, fmt.Errorf("entry %d: %w", i, err)
		}
		r.Inclusion++
	}
	if l.Old != nil {
		if err := extends(l, hashes, tree); err != nil {
			return r, fmt.Errorf("older checkpoint: %w", err)
		}
		r.Consistency++
	}
	return r, nil
}

// open returns the tree that a checkpoint states, once its signature is found right.
func open(signed []byte, key note.Verifier) (tlog.Tree, error) {
	n, err := note.Open(signed, note.VerifierList(key))
	if err != nil {
		return tlog.Tree{}, err
	}
	origin, rest, _ := strings.Cut(n.Text, "\n")
	if origin != key.Name() {
		return tlog.Tree{}, fmt.Errorf("a checkpoint of %q", origin)
	}
	// A checkpoint differs from what this parses in nothing but the origin.
	return tlog.ParseTree([]byte("go.sum database tree\n" + rest))
}

func included(files *files, hashes tlog.HashReader, tree tlog.Tree, index int64) error {
	leaf, err := files.entry(index, tree.N)
	if err != nil {
		return err
	}
	proof, err := tlog.ProveRecord(tree.N, index, hashes)
	if err != nil {
		return err
	}
	return tlog.CheckRecord(proof, tree.N, tree.Hash, index, tlog.RecordHash(leaf))
}

func extends(l check.Log, hashes tlog.HashReader, tree tlog.Tree) error {
	old, err := open(l.Old, l.Key)
	if err != nil {
		return err
	}
	if old.N == 0 { // which tlog has no proofs from, as every tree extends the empty one
		if empty, err := tlog.TreeHash(0, nil); err != nil || old.Hash != empty {
			return errors.New("not the root of an empty tree")
		}
		return nil
	}
	proof, err := tlog.ProveTree(tree.N, old.N, hashes)
	if err != nil {
		return err
	}
	return tlog.CheckTree(proof, tree.N, tree.Hash, old.N, old.Hash)
}

// files reads the files of a log, each of them once.
type files struct {
	url   string
	known map[string][]byte
}

func (f *files) read(path string) ([]byte, error) {
	if body, ok := f.known[path]; ok {
		return body, nil
	}
	answer, err := client.Get(f.url + "/" + path)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, answer.Status)
	}
	body, err := io.ReadAll(answer.Body)
	if err == nil {
		f.known[path] = body
	}
	return body, err
}

// tile reads a tile; its path in sumdb is another one than in tlog-tiles.
func (f *files) tile(t tlog.Tile) ([]byte, error) {
	path := strings.Replace(t.Path(), "tile/8/", "tile/", 1)
	return f.read(strings.Replace(path, "tile/data/", "tile/entries/", 1))
}

// entry returns an entry of a log of size entries.
func (f *files) entry(index, size int64) ([]byte, error) {
	n := index / width
	t := tlog.Tile{H: height, L: -1, N: n, W: int(min(width, size-n*width))}
	rest, err := f.tile(t)
	if err != nil {
		return nil, err
	}
	var entries [][]byte
	for len(rest) >= 2 {
		end := 2 + int(binary.BigEndian.Uint16(rest))
		if end > len(rest) {
			break
		}
		entries, rest = append(entries, rest[2:end]), rest[end:]
	}
	if len(rest) > 0 || len(entries) != t.W {
		return nil, fmt.Errorf("%s: not a bundle of %d entries", t.Path(), t.W)
	}
	return entries[index%width], nil
}

// Height, ReadTiles and SaveTiles make a tlog.TileReader.

func (f *files) Height() int { return height }

func (f *files) ReadTiles(tiles []tlog.Tile) (data [][]byte, err error) {
	for _, t := range tiles {
		body, err := f.tile(t)
		if err != nil {
			return nil, err
		}
		data = append(data, body)
	}
	return data, nil
}

func (f *files) SaveTiles([]tlog.Tile, [][]byte) {}
