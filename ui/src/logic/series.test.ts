import { expect, test } from 'vitest'
import type { SeriesView } from '../api/client'
import { line, path } from './series'

const point = (bytes_per_s: number) => ({ bytes_per_s, records_per_s: 0, lag_bytes: 0, running: 1 })
const past: SeriesView = { step_s: 10, last: '1970-01-01T00:01:00Z', points: [null, point(5), null, point(7)] }

test('a past ends when its last point was made, and begins where something was known', () => {
  expect(line(past, 'bytes_per_s')).toEqual([[40, 50, 60], [5, null, 7]])
  expect(line(null, 'running')).toEqual([[], []])
})

test('a gap is no line, and nothing is a line of one point', () => {
  expect(path([0, 10, null, 5, 10], 40, 10)).toBe('M0.0 11.0L10.0 1.0M30.0 6.0L40.0 1.0')
  expect([path([], 40, 10), path([null, 3], 40, 10)]).toEqual(['', ''])
})
