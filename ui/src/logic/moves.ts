import type { EventRow } from '../api/client'

/** Lanes that one can still tell apart. */
export const LANES_MAX = 24

/** What an event of the kind `source.*` says of a source and the event's node. What is new to the console is shown as trouble: it is seldom good. */
export function wordOf(kind: string): 'came' | 'went' | 'again' | 'trouble' {
  switch (kind) {
    case 'source.taken':
    case 'source.claimed':
      return 'came'
    case 'source.released':
      return 'went'
    case 'source.rewound':
      return 'again'
    default:
      return 'trouble'
  }
}

export interface Lane {
  node: string
  rows: EventRow[]
}

/** Sources that moved: an event may tell of several. */
export const moved = (rows: EventRow[]) => rows.reduce((sum, row) => sum + (row.sources ?? 1), 0)

/** The moves by node, in the order of their names; of more nodes than fit those with the most moves. */
export function lanes(rows: EventRow[], nameOf: (row: EventRow) => string): { shown: Lane[]; hidden: number } {
  const byNode = new Map<string, EventRow[]>()
  for (const row of rows) {
    const node = nameOf(row)
    byNode.set(node, [...(byNode.get(node) ?? []), row])
  }
  const all = [...byNode].map(([node, rows]) => ({ node, rows })).sort((a, b) => moved(b.rows) - moved(a.rows) || a.node.localeCompare(b.node))
  const shown = all.slice(0, LANES_MAX).sort((a, b) => a.node.localeCompare(b.node))
  return { shown, hidden: all.length - shown.length }
}
