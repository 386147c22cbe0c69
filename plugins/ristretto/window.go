// SPDX-FileCopyrightText: 2026 The Gatehouse Authors
// SPDX-License-Identifier: Apache-2.0

package ristretto

// window is the items that came last, in their order. The links are in the items: each further piece of memory an item is one more for
// the garbage collector to visit.
type window struct{ newest, oldest *item }

// push adds an item as the newest one.
func (w *window) push(it *item) {
	it.newer, it.older = nil, w.newest
	if w.newest != nil {
		w.newest.newer = it
	} else {
		w.oldest = it
	}
	w.newest = it
}

// remove takes an item out.
func (w *window) remove(it *item) {
	if it.newer != nil {
		it.newer.older = it.older
	} else {
		w.newest = it.older
	}
	if it.older != nil {
		it.older.newer = it.newer
	} else {
		w.oldest = it.newer
	}
	it.newer, it.older = nil, nil
}
