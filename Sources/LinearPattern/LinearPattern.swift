/// A regular expression in RE2's syntax, matched in time linear in the text.
///
/// Kubernetes' expressions are those of Go's `regexp`, whose syntax is RE2's: https://github.com/google/re2/wiki/Syntax.
/// There are no back references and no looking around, so that an automaton can match them: a text costs at most
/// (its length) × (the size of the program) steps, whatever the expression. Matching is over Unicode scalars.
/// Pure; may be used from several threads at once.
package struct LinearPattern: Sendable {
  /// As it was written.
  package let source: String
  let program: PatternProgram

  /// Steps of one match, after which it is given up: some tenths of a second.
  package static let stepsMax = 20_000_000

  /// - Throws: `PatternProblem` in Go's words where the expression is none, or too large.
  package init(_ source: String) throws(PatternProblem) {
    self.source = source
    var parser = try PatternParser(source)
    program = try PatternProgram(try parser.parse())
  }

  /// Whether the expression matches anywhere in the text.
  ///
  /// - Returns: nil where that took more than `stepsMax` steps.
  package func matches(_ text: String) -> Bool? {
    var steps = 0
    return matches(text, steps: &steps)
  }

  /// - Parameters:
  ///   - steps: is raised by what the match took.
  ///   - limit: after so many it is given up.
  package func matches(_ text: String, steps: inout Int, limit: Int = stepsMax) -> Bool? {
    var simulation = PatternSimulation(program, wantsPlace: false, limit: limit)
    let found = simulation.run(Array(text.unicodeScalars), from: 0)
    steps += simulation.steps
    return simulation.isOverBudget ? nil : found != nil
  }

  /// The matches from the left that do not overlap: the leftmost, and of those the one the expression prefers.
  ///
  /// - Parameter limit: at most so many; nil: all.
  /// - Returns: nil where that took more than `stepsMax` steps.
  package func finds(in text: String, limit: Int? = nil) -> [String]? {
    let scalars = Array(text.unicodeScalars)
    var (found, place, steps, lastEnd): ([String], Int, Int, Int) = ([], 0, 0, -1)
    while place <= scalars.count, found.count < limit ?? .max {
      var simulation = PatternSimulation(program, wantsPlace: true)
      simulation.steps = steps
      guard let match = simulation.run(scalars, from: place) else { return simulation.isOverBudget ? nil : found }
      steps = simulation.steps
      if simulation.isOverBudget { return nil }
      // As Go does: nothing empty is found right behind a match.
      if match.isEmpty, match.lowerBound == lastEnd {
        place += 1
        continue
      }
      var view = String.UnicodeScalarView()
      view.append(contentsOf: scalars[match])
      found.append(String(view))
      lastEnd = match.upperBound
      place = match.isEmpty ? match.upperBound + 1 : match.upperBound
    }
    return found
  }
}

/// Why an expression cannot be read, in Go's words.
package struct PatternProblem: Error, Hashable, Sendable, CustomStringConvertible {
  /// `missing closing )`
  package let reason: String
  /// The part of the expression that is meant; nil where the reason says all.
  package let part: String?

  init(_ reason: String, _ part: String? = nil) {
    (self.reason, self.part) = (reason, part)
  }

  package var description: String { "error parsing regexp: \(reason)" + (part.map { ": `\($0)`" } ?? "") }
}
