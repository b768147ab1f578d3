import type { Asked } from '../api/client'

/** What a plan is asked: a node that goes, or so many that come with these tags. */
export function question(what: 'dies' | 'leaves' | 'joins', node: string, many: number, tags: string[]): { changes: Asked[] } {
  switch (what) {
    case 'dies':
      return { changes: [{ dies: node }] }
    case 'leaves':
      return { changes: [{ leaves: node }] }
    case 'joins':
      return { changes: Array.from({ length: many }, (_, at) => ({ joins: { name: `joiner-${at + 1}`, tags } })) }
  }
}
