import { expect, test } from 'vitest'
import { fieldName, say, sayState, TEXT } from './text'

const holes = (text: string) => [...text.matchAll(/\{(\w+)\}/g)].map((match) => match[1]).sort()

test('both languages have the same holes', () => {
  for (const [key, [english, chinese]] of Object.entries(TEXT)) expect(holes(chinese), key).toEqual(holes(english))
})

test('holes are filled, and what nobody fills stays to be seen', () => {
  expect(say('en', 'lost_going', { node: 'b', n: 3 })).toBe('This page goes on at b in 3 s.')
  expect(say('zh', 'lost_going', { node: 'b' })).toContain('{n}')
})

test('one is told as one', () => {
  expect([say('en', 'plan_moves', { n: 1 }), say('en', 'plan_moves', { n: 0 }), say('en', 'plan_moves', { n: '1,204' })]).toEqual(['1 source moves', '0 sources move', '1,204 sources move'])
  expect(say('en', 'moves_told', { n: 2, nodes: 1 })).toBe('2 moves on 1 node within the hour; listed below')
})

test('what is counted is never told in a plural alone', () => {
  const plural = Object.entries(TEXT).filter(([, [english]]) => /\{n\} (?!more \{|movable \{)[a-z]{3,}s\b/.test(english)).map(([key]) => key)
  expect(plural).toEqual([])
})

test('a field goes by a name in both languages, and one that is new by its own', () => {
  expect([fieldName('en', 'time_layout'), fieldName('zh', 'poll_ms'), fieldName('en', 'poll_ms'), fieldName('zh', 'brand_new')]).toEqual(['Layout of the time', '轮询间隔 (poll_ms)', 'poll_ms', 'brand_new'])
})

test('a state that is new to the console is shown as the API says it', () => {
  expect([sayState('en', 'waiting_for_checkpoint'), sayState('zh', 'alive'), sayState('zh', 'brand_new')]).toEqual(['waiting for checkpoint', '存活', 'brand new'])
})
