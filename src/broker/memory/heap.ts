/**
 * Something that stands in at most one heap at a time; it carries its own place, so that removal
 * needs no search.
 */
export interface HeapNode {
  /** Smallest first; then by `tie`. */
  key: number;
  tie: number;
  /** Place in its heap; -1: in none. Belongs to the heap. */
  heapAt: number;
}

/** A binary heap with exact removal: push, pop and remove in O(log n), peek in O(1). */
export class Heap<T extends HeapNode> {
  private readonly nodes: T[] = [];

  get size(): number {
    return this.nodes.length;
  }

  peek(): T | undefined {
    return this.nodes[0];
  }

  has(node: T): boolean {
    return this.nodes[node.heapAt] === node;
  }

  push(node: T): void {
    if (node.heapAt !== -1) throw new Error("heap: the node stands in a heap already");
    this.nodes.push(node);
    this.settle(node, this.nodes.length - 1);
  }

  pop(): T | undefined {
    const first = this.nodes[0];
    if (first) this.remove(first);
    return first;
  }

  /** False: it was not here. */
  remove(node: T): boolean {
    const at = node.heapAt;
    if (this.nodes[at] !== node) return false;
    const last = this.nodes.pop()!;
    node.heapAt = -1;
    if (last !== node) this.settle(last, at);
    return true;
  }

  /** In no order. */
  values(): IterableIterator<T> {
    return this.nodes.values();
  }

  private settle(node: T, start: number): void {
    const at = this.sinkHole(node, this.riseHole(node, start));
    this.nodes[at] = node;
    node.heapAt = at;
  }

  private riseHole(node: T, start: number): number {
    let at = start;
    while (at > 0) {
      const parentAt = (at - 1) >> 1;
      const parent = this.nodes[parentAt]!;
      if (!before(node, parent)) break;
      this.nodes[at] = parent;
      parent.heapAt = at;
      at = parentAt;
    }
    return at;
  }

  private sinkHole(node: T, start: number): number {
    let at = start;
    for (;;) {
      let childAt = 2 * at + 1;
      const left = this.nodes[childAt];
      if (!left) return at;
      const right = this.nodes[childAt + 1];
      if (right && before(right, left)) childAt += 1;
      const child = this.nodes[childAt]!;
      if (!before(child, node)) return at;
      this.nodes[at] = child;
      child.heapAt = at;
      at = childAt;
    }
  }
}

const before = (one: HeapNode, other: HeapNode): boolean =>
  one.key < other.key || (one.key === other.key && one.tie < other.tie);
