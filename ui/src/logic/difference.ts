export interface Line {
  change: 'same' | 'gone' | 'new'
  text: string
}

/** Lines of two texts, side by side in one: by their longest common subsequence. O(n·m), for specs of a few hundred lines. */
export function difference(before: string, after: string): Line[] {
  const [a, b] = [before.split('\n'), after.split('\n')]
  const common: number[][] = Array.from({ length: a.length + 1 }, () => new Array<number>(b.length + 1).fill(0))
  const at = (i: number, j: number) => common[i]?.[j] ?? 0
  for (let i = a.length - 1; i >= 0; i--)
    for (let j = b.length - 1; j >= 0; j--) {
      const row = common[i]
      if (row) row[j] = a[i] === b[j] ? at(i + 1, j + 1) + 1 : Math.max(at(i + 1, j), at(i, j + 1))
    }
  const lines: Line[] = []
  let [i, j] = [0, 0]
  while (i < a.length || j < b.length) {
    if (i < a.length && j < b.length && a[i] === b[j]) {
      lines.push({ change: 'same', text: a[i] ?? '' })
      i += 1
      j += 1
    } else if (j >= b.length || (i < a.length && at(i + 1, j) >= at(i, j + 1))) {
      lines.push({ change: 'gone', text: a[i] ?? '' })
      i += 1
    } else {
      lines.push({ change: 'new', text: b[j] ?? '' })
      j += 1
    }
  }
  return lines
}
