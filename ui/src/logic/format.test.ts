import { expect, test } from 'vitest'
import { bytes, count, factor, moment, span } from './format'

test('bytes are told in the unit that fits', () => {
  expect([0, 1023, 1024, 1536, 20_480, 5 * 1024 ** 3].map(bytes)).toEqual(['0 B', '1023 B', '1.0 KiB', '1.5 KiB', '20 KiB', '5.0 GiB'])
})

test('small rates keep a decimal', () => {
  expect([0, 0.25, 9.5, 12_345.6].map((value) => count(value))).toEqual(['0', '0.3', '9.5', '12,346'])
})

test('ages never go below zero, whatever the two clocks say', () => {
  expect([-5000, 400, 59_000, 61_000, 7_300_000, 200_000_000].map(span)).toEqual(['0 s', '0 s', '59 s', '1 min', '2 h', '2 d'])
})

test('another day is told with its date', () => {
  const now = new Date('2026-03-02T12:00:00')
  expect(moment('2026-03-02T11:59:58', now)).toBe('11:59:58')
  expect(moment('2026-02-28T11:59:58', now)).toBe('2026-02-28 11:59:58')
})

test('four steps of capacity are twice as much', () => {
  expect([factor(8, 8), factor(12, 8), factor(4, 8)]).toEqual([1, 2, 0.5])
})
