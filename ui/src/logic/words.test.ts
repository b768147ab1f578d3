import { expect, test } from 'vitest'
import { stale } from '../api/events'
import { question } from './plan'
import { notAName, words } from './tags'

test('tags are words, each once', () => {
  expect(words(' web, zone-a  web\nb ')).toEqual(['web', 'zone-a', 'b'])
  expect(notAName(['web', 'Zone', '-x'])).toBe('Zone')
  expect(notAName(['a'.repeat(63)])).toBeUndefined()
  expect(notAName(['a'.repeat(64)])).toBeDefined()
})

test('an event makes those lists old that show what it tells', () => {
  expect(stale('member.down')).toContain('nodes')
  expect(stale('source.taken')).toContain('sources')
  expect(stale('something.new')).toEqual([])
})

test('a plan asks for as many joiners as were said, each under a name of its own', () => {
  const joins = ['joiner-1', 'joiner-2'].map((name) => ({ joins: { name, tags: ['web'] } }))
  expect(question('joins', '', 2, ['web']).changes).toEqual(joins)
  expect(question('dies', 'n', 2, ['web']).changes).toEqual([{ dies: 'n' }])
})
