import { moment, span } from '../logic/format'
import { useNow } from './useNow'
import { useWords } from './words'

/** How long ago something was; the whole moment on hovering. */
export function Ago({ at }: { at: string | null | undefined }) {
  const now = useNow()
  if (!at) return '–'
  return (
    <time dateTime={at} title={at}>
      {span(now - Date.parse(at))}
    </time>
  )
}

export function Moment({ at }: { at: string | null | undefined }) {
  const { language } = useWords()
  if (!at) return '–'
  return (
    <time dateTime={at} title={at}>
      {moment(at, new Date(), language === 'zh' ? 'zh-CN' : 'en-GB')}
    </time>
  )
}
