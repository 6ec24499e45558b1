import JSON
import Kernel
import TestSupport
import Testing

/// What a person at a cluster has: a shell with kubectl in it, a namespace, a directory for manifests.
struct KubeShell {
  let node: KubeNode
  let namespace: String
  let directory: String

  /// A new namespace of the suite's cluster, and a kubeconfig whose context is in it.
  static func make(_ namespace: String) async throws -> KubeShell {
    let node = try #require(KubeNode.current)
    let directory = "\(node.path)/home/\(namespace)"
    try Files.makeDirectories(directory)
    try Files.writeAtomically("\(directory)/kubeconfig", try Files.read(node.kubeconfig))
    let shell = KubeShell(node: node, namespace: namespace, directory: directory)
    if namespace != "default" {
      try await shell.says("kubectl create namespace \(namespace)", "namespace/\(namespace) created")
    }
    let answer = try await shell("kubectl config set-context --current --namespace=\(namespace)")
    guard answer.code == 0 else { throw KubeNode.Failure(description: "set-context: \(answer.errors)") }
    return shell
  }

  /// Runs a script of sh in the shell's directory.
  func callAsFunction(_ script: String, input: String = "", seconds: Double = 60) async throws -> CLINode.Answer {
    try await node.run(
      ["sh", "-c", "cd \(directory) || exit\n\(script)"], environment: ["KUBECONFIG=\(directory)/kubeconfig"],
      input: Array(input.utf8), seconds: seconds)
  }

  /// Writes a file into the shell's directory.
  func write(_ name: String, _ text: String) throws {
    try Files.writeAtomically("\(directory)/\(name)", Array(text.utf8))
  }

  /// The script ends well and writes exactly `lines`.
  func says(
    _ script: String, _ lines: String, input: String = "", sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let answer = try await self(script, input: input)
    #expect(
      answer.output == lines + (lines.isEmpty ? "" : "\n"), "\(script): \(answer.errors)",
      sourceLocation: sourceLocation)
    #expect(answer.code == 0, "\(script): \(answer.errors)", sourceLocation: sourceLocation)
  }

  /// The script ends well and writes something with each of `parts` in it.
  @discardableResult
  func shows(
    _ script: String, _ parts: String..., sourceLocation: SourceLocation = #_sourceLocation
  ) async throws -> String {
    let answer = try await self(script)
    #expect(answer.code == 0, "\(script): \(answer.errors)", sourceLocation: sourceLocation)
    for part in parts {
      #expect(
        answer.output.contains(part), "\(script): \(answer.output)\(answer.errors)", sourceLocation: sourceLocation)
    }
    return answer.output
  }

  /// The script writes a table; lines of it, with runs of blanks and ages made one thing, have each of `rows` in them.
  func tabulates(
    _ script: String, _ rows: String..., sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let answer = try await self(script)
    #expect(answer.code == 0, "\(script): \(answer.errors)", sourceLocation: sourceLocation)
    let lines = Self.squeezed(answer.output)
    for row in rows {
      #expect(lines.contains(row), "\(script): \(answer.output)", sourceLocation: sourceLocation)
    }
  }

  /// The script fails with exactly `error` on standard error.
  func fails(
    _ script: String, _ error: String, code: Int32 = 1, sourceLocation: SourceLocation = #_sourceLocation
  ) async throws {
    let answer = try await self(script)
    #expect(answer.errors == error + "\n", "\(script): \(answer.output)", sourceLocation: sourceLocation)
    #expect(answer.code == code, "\(script)", sourceLocation: sourceLocation)
  }

  /// Repeats the script until its output holds; for what no `kubectl wait` can say.
  func eventually(
    _ script: String, seconds: Double = 30, sourceLocation: SourceLocation = #_sourceLocation,
    _ condition: (String) -> Bool
  ) async throws {
    let deadline = ContinuousClock.now + .seconds(seconds)
    var last = ""
    repeat {
      let answer = try await self(script)
      if condition(answer.output) { return }
      last = answer.output + answer.errors
      try await Task.sleep(for: .milliseconds(100))
    } while ContinuousClock.now < deadline
    Issue.record("\(script) stayed at: \(last)", sourceLocation: sourceLocation)
  }

  /// Lines with runs of blanks as one, and each word that is an age as AGE.
  static func squeezed(_ text: String) -> [String] {
    text.split(separator: "\n").map { line in
      line.split(separator: " ").map { word in
        let isAge =
          word.count > 1 && word.first?.isNumber == true && word.allSatisfy { $0.isNumber || "dhms".contains($0) }
          && word.last?.isLetter == true
        return isAge ? "AGE" : String(word)
      }.joined(separator: " ")
    }
  }
}
