import { type CSSVariablesResolver, createTheme } from '@mantine/core'

/** Shades dark enough for white text on them, and text that is quiet but reads: 4.5:1 at least (WCAG 2.2 §1.4.3). */
export const theme = createTheme({
  primaryColor: 'teal',
  primaryShade: { light: 9, dark: 9 },
  respectReducedMotion: true,
  defaultRadius: 'sm',
  fontFamily: 'system-ui, sans-serif',
  fontFamilyMonospace: 'ui-monospace, monospace',
})

export const variables: CSSVariablesResolver = () => ({
  // Under the pointer a button grows darker: lighter, its text would no longer read.
  variables: {},
  light: {
    '--mantine-color-teal-filled-hover': '#066649',
    '--mantine-color-dimmed': '#495057',
    '--mantine-color-placeholder': '#6a7178',
    '--mantine-color-error': '#c92a2a',
    '--mantine-color-anchor': '#087f5b',
    '--good': '#2b8a3e',
    '--warn': '#b35900',
    '--bad': '#c92a2a',
    '--quiet': '#868e96',
    '--line': '#dee2e6',
    '--bar': '#0ca678',
    '--bar-before': '#adb5bd',
  },
  dark: {
    '--mantine-color-teal-filled-hover': '#066649',
    '--mantine-color-dimmed': '#b8b8b8',
    '--mantine-color-placeholder': '#909296',
    '--mantine-color-error': '#ff8787',
    '--mantine-color-anchor': '#63e6be',
    '--good': '#51cf66',
    '--warn': '#ffa94d',
    '--bad': '#ff8787',
    '--quiet': '#909296',
    '--line': '#424242',
    '--bar': '#20c997',
    '--bar-before': '#696969',
  },
})
