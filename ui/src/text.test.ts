import { expect, test } from 'vitest'
import { say, sayState, TEXT } from './text'

const holes = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort()

test('both languages have the same holes', () => {
  for (const [key, [english, chinese]] of Object.entries(TEXT)) expect(holes(chinese), key).toEqual(holes(english))
})

test('holes are filled, and what nobody fills stays to be seen', () => {
  expect(say('en', 'lost_going', { node: 'b', n: 3 })).toBe('This page goes on at b in 3 s.')
  expect(say('zh', 'lost_going', { node: 'b' })).toContain('{n}')
})

test('a state that is new to the console is shown as the API says it', () => {
  expect([sayState('en', 'waiting_for_checkpoint'), sayState('zh', 'alive'), sayState('zh', 'brand_new')]).toEqual(['waiting for checkpoint', '存活', 'brand new'])
})
