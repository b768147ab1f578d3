import { expect, test } from 'vitest'
import { StreamParser } from './stream'

const whole = 'id: 7-a\nevent: member.down\ndata: {"x":1}\n\n: keep-alive\n\nid: 8-a\ndata: one\ndata: two\n\n'
const expected = [
  { id: '7-a', event: 'member.down', data: '{"x":1}' },
  { id: '8-a', event: 'message', data: 'one\ntwo' },
]

test('messages are the same wherever the network cuts the stream', () => {
  for (let cut = 0; cut <= whole.length; cut++) {
    const parser = new StreamParser()
    expect([...parser.push(whole.slice(0, cut)), ...parser.push(whole.slice(cut))]).toEqual(expected)
  }
})

test('carriage returns end lines too, cut in two or not', () => {
  const parser = new StreamParser()
  expect([...parser.push('data: a\r'), ...parser.push('\n\r'), ...parser.push('\n')]).toEqual([{ id: '', event: 'message', data: 'a' }])
})

test('an id stays until another comes, so that a reconnect asks from there', () => {
  const parser = new StreamParser()
  parser.push('id: 9-b\ndata: x\n\n')
  expect(parser.push('data: y\n\n')[0]?.id).toBe('9-b')
})
