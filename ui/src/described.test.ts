import { expect, test } from 'vitest'
import listed from '../fixtures/components.json'
import chinese from './described.zh.json'
import { described } from './logic/schema'

/** All descriptions within. */
function* of(schema: unknown): Generator<string> {
  if (typeof schema !== 'object' || schema === null) return
  for (const [key, value] of Object.entries(schema)) {
    if (key === 'description' && typeof value === 'string') yield described(value)
    else yield* of(value)
  }
}

const texts = [...new Set(of(listed))].filter((text) => /[A-Za-z]{3}/.test(text))
const table: Record<string, string> = chinese

test('what the API says of a field is there in Chinese, and nothing else is', () => {
  expect(texts.filter((text) => !table[text])).toEqual([])
  expect(Object.keys(table).filter((text) => !texts.includes(text))).toEqual([])
})

test('code and bounds are the same in both', () => {
  const parts = (text: string, part: RegExp) => [...text.matchAll(part)].map(([found]) => found).sort()
  for (const text of texts)
    for (const part of [/`[^`]*`/g, /\d[\d,]*\d/g]) expect(parts(table[text] ?? '', part), text).toEqual(parts(text, part))
})
