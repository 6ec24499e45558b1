import ArgumentParser
import JSON
import Kernel
import Synchronization
import YAML

/// Where the command line's text goes: answers to standard output, everything about them to standard error.
enum Console {
  static func out(_ text: String) throws(SyscallError) {
    try StandardStream.write(Array(text.utf8), to: .output)
  }

  static func line(_ text: String) throws(SyscallError) { try out(text + "\n") }

  /// A value as JSON or YAML.
  static func value(_ value: JSONValue, as format: OutputOptions.Format) throws(SyscallError) {
    switch format {
    case .yaml: try out(YAML.encoded(value))
    // Pretty JSON ends its last line itself.
    case .json, .table: try out(value.encodedString(pretty: true))
    }
  }

  static func error(_ message: String) {
    let word = Style(enabled: stylesErrors).red("error:")
    // Nobody is left to tell that telling failed.
    try? StandardStream.write(Array("\(word) \(message)\n".utf8), to: .errors)
  }

  static func note(_ text: String) {
    try? StandardStream.write(Array("\(text)\n".utf8), to: .errors)
  }

  private static var stylesErrors: Bool { OutputOptions.plain.styled(.errors) }
}

extension OutputOptions {
  /// The options of a command that failed before its own were read.
  static var plain: OutputOptions { (try? OutputOptions.parse([])) ?? OutputOptions() }
}

/// Colours by meaning. Not enabled, text passes unchanged.
struct Style: Sendable {
  var enabled: Bool

  func red(_ text: String) -> String { wrap(text, "31") }
  func green(_ text: String) -> String { wrap(text, "32") }
  func yellow(_ text: String) -> String { wrap(text, "33") }
  func dim(_ text: String) -> String { wrap(text, "2") }
  func bold(_ text: String) -> String { wrap(text, "1") }

  private func wrap(_ text: String, _ code: String) -> String {
    enabled ? "\u{1b}[\(code)m\(text)\u{1b}[0m" : text
  }
}

/// The alternate screen of full-screen views; leaving it brings the shell's text back.
enum Screen {
  private static let entered = Mutex(false)

  static func enter() throws(SyscallError) {
    entered.withLock { $0 = true }
    try Console.out("\u{1b}[?1049h\u{1b}[?25l")
  }

  static func leave() {
    let was = entered.withLock { entered in
      defer { entered = false }
      return entered
    }
    guard was else { return }
    try? Console.out("\u{1b}[?25h\u{1b}[?1049l")
  }
}

/// A callback that can be exchanged from another thread.
final class Handler: Sendable {
  private let body = Mutex<(@Sendable () -> Void)?>(nil)

  func set(_ new: (@Sendable () -> Void)?) { body.withLock { $0 = new } }

  func call() { body.withLock { $0 }?() }

  /// Calls the callback and forgets it; false where there is none.
  func callOnce() -> Bool {
    guard
      let body = body.withLock({ body in
        defer { body = nil }
        return body
      })
    else { return false }
    body()
    return true
  }
}
