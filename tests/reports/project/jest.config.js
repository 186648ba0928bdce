module.exports = { testMatch: ["<rootDir>/test/jest/**/*.test.js"], reporters: ["default", "jest-junit"] };
