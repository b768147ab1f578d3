import { expect, test } from 'vitest'
import type { EventRow } from '../api/client'
import { LANES_MAX, lanes, moved, wordOf } from './moves'

const row = (id: string, node: string): EventRow => ({ id, node, time: '', kind: 'source.taken', detail: '' })

test('each node has a lane with its moves, by name', () => {
  expect(lanes([row('1', 'b'), row('2', 'a'), row('3', 'b')], (row) => row.node ?? '')).toEqual({
    shown: [{ node: 'a', rows: [row('2', 'a')] }, { node: 'b', rows: [row('1', 'b'), row('3', 'b')] }], hidden: 0,
  })
})

test('of too many nodes those with the most moves are drawn, and the rest is counted', () => {
  const quiet = Array.from({ length: LANES_MAX + 4 }, (_, at) => row(`q${at}`, `a${at}`))
  const found = lanes([...quiet, row('x', 'z'), row('y', 'z')], (row) => row.node ?? '')
  expect([found.shown.length, found.hidden, found.shown.at(-1)?.node]).toEqual([LANES_MAX, 5, 'z'])
})

test('an event of several sources counts as many', () => {
  const several = { ...row('m', 'z'), sources: 7 }
  expect(moved([row('1', 'a'), several])).toBe(8)
  const quiet = Array.from({ length: LANES_MAX }, (_, at) => [row(`q${at}`, `a${at}`), row(`r${at}`, `a${at}`)]).flat()
  expect(lanes([...quiet, several], (row) => row.node ?? '').shown.at(-1)?.node).toBe('z')
})

test('a kind that is new to the console is not taken for good', () => {
  expect(['claimed', 'released', 'rewound', 'brand_new'].map((word) => wordOf(`source.${word}`))).toEqual(['came', 'went', 'again', 'trouble'])
})
