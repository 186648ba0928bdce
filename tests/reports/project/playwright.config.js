module.exports = {
  testDir: "test/playwright",
  retries: 2,
  workers: 1,
  reporter: [["junit", { includeRetries: true, outputFile: process.env.PLAYWRIGHT_JUNIT_OUTPUT_FILE }]],
  projects: [{ name: "plain" }],
};
