import { sayState } from '../text'
import { useWords } from './words'

export type Tone = 'good' | 'warn' | 'bad' | 'quiet'

/** The words that the API uses for states; one that is not here yet is shown as it is, quietly. */
const TONES: Record<string, Tone> = {
  alive: 'good', suspect: 'warn', down: 'bad', left: 'quiet',
  active: 'good', joining: 'warn', draining: 'warn', away: 'warn',
  running: 'good', starting: 'warn', paused: 'warn', failed: 'bad', stopped: 'quiet', 'waiting for node': 'warn',
  collected: 'good', failing: 'bad', waiting: 'warn', waiting_for_checkpoint: 'bad', unowned: 'bad', no_node: 'bad', two_owners: 'bad', unsplittable: 'warn', no_owner: 'bad',
  applied: 'good', pending: 'warn', accepted: 'good', withdrawn: 'bad', done: 'good',
}

export const tone = (word: string): Tone => TONES[word] ?? 'quiet'

/** Not by colour alone: each tone has a shape. */
export function Mark({ tone }: { tone: Tone }) {
  return (
    <svg data-tone={tone} width="10" height="10" viewBox="0 0 10 10" aria-hidden="true">
      {tone === 'good' && <circle cx="5" cy="5" r="4.5" fill="var(--tone)" />}
      {tone === 'warn' && <path d="M5 0.5 9.8 9.5H0.2Z" fill="var(--tone)" />}
      {tone === 'bad' && <path d="M1 1 9 9M9 1 1 9" stroke="var(--tone)" strokeWidth="2.4" />}
      {tone === 'quiet' && <circle cx="5" cy="5" r="3.7" fill="none" stroke="var(--tone)" strokeWidth="1.6" />}
    </svg>
  )
}

export function Status({ word }: { word: string }) {
  const { language } = useWords()
  return (
    <span className="status">
      <Mark tone={tone(word)} />
      {sayState(language, word)}
    </span>
  )
}
