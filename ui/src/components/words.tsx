import { createContext, type ReactNode, useContext, useEffect, useMemo, useState } from 'react'
import { type Key, type Language, say, type Words } from '../text'
import { sayTold } from '../told'

const STORED = 'logvine.language'

function preferred(): Language {
  const stored = localStorage.getItem(STORED)
  if (stored === 'en' || stored === 'zh') return stored
  return navigator.language.toLowerCase().startsWith('zh') ? 'zh' : 'en'
}

interface Spoken {
  language: Language
  setLanguage: (language: Language) => void
  t: Words
  /** What a node wrote, in this language as far as the console knows its sentences. */
  told: (words: string) => string
}

const Context = createContext<Spoken | undefined>(undefined)

export function WordsProvider({ children }: { children: ReactNode }) {
  const [language, setLanguage] = useState(preferred)
  useEffect(() => {
    document.documentElement.lang = language
    localStorage.setItem(STORED, language)
  }, [language])
  const spoken = useMemo(
    () => ({
      language,
      setLanguage,
      t: (key: Key, values?: Record<string, string | number>) => say(language, key, values),
      told: (words: string) => sayTold(language, words),
    }),
    [language],
  )
  return <Context value={spoken}>{children}</Context>
}

export function useWords(): Spoken {
  const spoken = useContext(Context)
  if (!spoken) throw new Error('there is no WordsProvider above')
  return spoken
}
