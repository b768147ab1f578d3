import { useState } from 'react'

const KEPT = 'logvine.kept:'

/** What is typed, kept in the tab under `place`: a reload, or another page looked at meanwhile, loses nothing. */
export function useKept<T>(place: string, first: T): [T, (value: T) => void, () => void] {
  const [value, setValue] = useState<T>(() => {
    const kept = sessionStorage.getItem(KEPT + place)
    return kept ? (JSON.parse(kept) as T) : first
  })
  const keep = (next: T) => {
    setValue(next)
    sessionStorage.setItem(KEPT + place, JSON.stringify(next))
  }
  const drop = () => {
    sessionStorage.removeItem(KEPT + place)
    setValue(first)
  }
  return [value, keep, drop]
}

/** Whether this tab keeps something that was typed and not saved. It belongs to this address: another node's page has a store of its own. */
export const hasKept = () => Object.keys(sessionStorage).some((key) => key.startsWith(KEPT))
