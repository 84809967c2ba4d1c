import tseslint from "typescript-eslint";

/** Type-aware: a floating promise is a lost write. */
export default tseslint.config(
  { ignores: ["dist", "node_modules", "chunker-wasm", "**/*.{js,mjs,cjs}"] },
  tseslint.configs.strictTypeChecked,
  tseslint.configs.stylisticTypeChecked,
  {
    languageOptions: {
      parserOptions: { projectService: true, tsconfigRootDir: import.meta.dirname },
    },
    rules: {
      "@typescript-eslint/restrict-template-expressions": ["error", { allowNumber: true }],
      // Byte loops over typed arrays: an index the loop bounds is never undefined.
      "@typescript-eslint/no-non-null-assertion": "off",
    },
  },
);
