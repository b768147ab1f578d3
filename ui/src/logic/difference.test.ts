import { expect, test } from 'vitest'
import { difference } from './difference'

const told = (before: string, after: string) => difference(before, after).map((line) => ({ same: ' ', gone: '-', new: '+' })[line.change] + line.text)

test('what changed is told around what stayed', () => {
  expect(told('a\nb\nc', 'a\nx\nc')).toEqual([' a', '-b', '+x', ' c'])
  expect(told('a', 'a')).toEqual([' a'])
  expect(told('a\nb', 'b\nc')).toEqual(['-a', ' b', '+c'])
})
