internal import JSON
package import Kernel
internal import Logging

/// Runs plugins: finds the program, hands it its request, reads what it says. Not more than `CNIBounds.pluginsAtOnce` at
/// one time.
package struct CNIPlugins: Sendable {
  /// What a plugin that has ended left.
  package struct Answer: Sendable {
    package var status: Int32
    package var output: [UInt8]
    package var errorOutput: [UInt8]

    package init(status: Int32, output: [UInt8], errorOutput: [UInt8]) {
      self.status = status
      self.output = output
      self.errorOutput = errorOutput
    }
  }

  /// Why there is no answer.
  package enum RunError: Error, Sendable {
    case timedOut
    case failed(String)

    package init(_ error: SyscallError) {
      self = error.errno == Errno.timedOut ? .timedOut : .failed(error.description)
    }
  }

  /// Starts a program, waits for its end, and gives what it printed.
  package typealias Runner =
    @Sendable (_ path: String, _ environment: [String], _ input: [UInt8]) async throws(RunError) -> Answer

  /// Searched in this order.
  var directories: [String]
  var searchPath: String
  var log: Logger
  private let runner: Runner
  private let slots = CNISlots(CNIBounds.pluginsAtOnce)

  init(directories: [String], searchPath: String, log: Logger, runner: @escaping Runner) {
    self.directories = directories
    self.searchPath = searchPath
    self.log = log
    self.runner = runner
  }

  /// As a child of this process, in its network namespace.
  package static let child: Runner = { path, environment, input async throws(RunError) in
    do throws(SyscallError) {
      let outcome = try await ChildProcess.run(
        path, arguments: [path], environment: environment, input: input, maxOutputBytes: CNIBounds.outputBytesMax,
        timeoutSeconds: CNIBounds.pluginSeconds)
      return Answer(status: outcome.status.code, output: outcome.output, errorOutput: outcome.errorOutput)
    } catch {
      throw RunError(error)
    }
  }

  /// Every plugin in order, each told what the one before it made.
  func add(_ configuration: CNIConfiguration, _ context: CNIRequest.Context) async throws(CNIError) -> CNIResult {
    var result: CNIResult?
    for plugin in configuration.plugins {
      let request = CNIRequest(
        .add, configuration, plugin: plugin, context, previous: result.map { .object($0.document) })
      let stage = Self.stage(request, configuration)
      result = try CNIResult.parse(try await run(request, stage), version: configuration.version, stage: stage)
    }
    guard let result else { throw CNIError(.configuration, stage: "CNI ADD", "\(configuration.name) has no plugin") }
    return result
  }

  /// Every plugin, last to first.
  func delete(
    _ configuration: CNIConfiguration, _ context: CNIRequest.Context, _ result: CNIResult?
  ) async throws(CNIError) {
    let previous = configuration.version.hasCheck ? result.map { JSONValue.object($0.document) } : nil
    for plugin in configuration.plugins.reversed() {
      let request = CNIRequest(.delete, configuration, plugin: plugin, context, previous: previous)
      _ = try await run(request, Self.stage(request, configuration))
    }
  }

  /// Whether what ADD made still stands. Nothing to ask where the version or the file has no CHECK.
  func check(
    _ configuration: CNIConfiguration, _ context: CNIRequest.Context, _ result: CNIResult
  ) async throws(CNIError) {
    guard configuration.version.hasCheck, !configuration.disableCheck else { return }
    for plugin in configuration.plugins {
      let request = CNIRequest(
        .check, configuration, plugin: plugin, context, previous: .object(result.document))
      _ = try await run(request, Self.stage(request, configuration))
    }
  }

  /// Lets plugins drop what they keep for pods other than `sandboxIDs`.
  func collect(_ configuration: CNIConfiguration, keeping sandboxIDs: [String]) async throws(CNIError) {
    guard configuration.version.hasGarbageCollection, !configuration.disableCollect else { return }
    for plugin in configuration.plugins {
      var request = CNIRequest(
        .collect, configuration, plugin, directories: directories, searchPath: searchPath)
      request.keep(sandboxIDs)
      _ = try await run(request, Self.stage(request, configuration))
    }
  }

  /// Whether an ADD would be served.
  func status(_ configuration: CNIConfiguration) async throws(CNIError) {
    guard configuration.version.hasGarbageCollection else { return }
    for plugin in configuration.plugins {
      let request = CNIRequest(.status, configuration, plugin, directories: directories, searchPath: searchPath)
      _ = try await run(request, Self.stage(request, configuration))
    }
  }

  /// Whether every plugin is there and speaks the file's version.
  func checkVersions(_ configuration: CNIConfiguration) async throws(CNIError) {
    for plugin in configuration.plugins {
      let request = CNIRequest(.version, configuration, plugin, directories: directories, searchPath: searchPath)
      let stage = Self.stage(request, configuration)
      let output = try await run(request, stage)
      let answer = try? JSONValue.parse(output)
      let supported = (answer?["supportedVersions"]?.array ?? []).compactMap(\.string)
      guard supported.contains(configuration.version.rawValue) else {
        throw CNIError(
          .configuration, stage: stage,
          "it speaks \(supported.isEmpty ? "no version that it tells" : supported.joined(separator: ", ")), not "
            + "\(configuration.version.rawValue), which the configuration asks for")
      }
    }
  }

  private static func stage(_ request: CNIRequest, _ configuration: CNIConfiguration) -> String {
    "CNI \(request.command.rawValue) of network \(configuration.name), plugin \(request.plugin)"
  }

  private func run(_ request: CNIRequest, _ stage: String) async throws(CNIError) -> [UInt8] {
    guard let directory = directories.first(where: { Files.exists("\($0)/\(request.plugin)") }) else {
      throw CNIError(.plugin, stage: stage, "no such program in \(directories.joined(separator: ", "))")
    }
    let path = "\(directory)/\(request.plugin)"
    return try await slots.withSlot { () async throws(CNIError) in
      let outcome: Answer
      do throws(RunError) {
        outcome = try await runner(path, request.environment, JSONValue.object(request.input).encoded())
      } catch {
        switch error {
        case .timedOut:
          throw CNIError(
            .timedOut, stage: stage, "did not end within \(Int(CNIBounds.pluginSeconds)) s and was killed")
        case .failed(let problem): throw CNIError(.plugin, stage: stage, problem)
        }
      }
      if !outcome.errorOutput.isEmpty {
        log.debug("a CNI plugin says", metadata: ["stage": "\(stage)", "text": "\(Self.shown(outcome.errorOutput))"])
      }
      if outcome.status == 0 { return outcome.output }
      throw Self.failure(outcome, stage)
    }
  }

  /// A plugin's error in its own words.
  static func failure(_ outcome: Answer, _ stage: String) -> CNIError {
    guard let failure = CNIFailure(outcome.output) else {
      let words = shown(outcome.errorOutput + outcome.output)
      return CNIError(
        .plugin, stage: stage,
        "ended with status \(outcome.status) and \(words.isEmpty ? "said nothing" : "said: \(words)")")
    }
    let details = failure.details.isEmpty ? "" : "; \(failure.details)"
    let advice = failure.code == CNIFailure.tryAgain ? " (asks to be tried again later)" : ""
    return CNIError(
      .plugin, stage: stage, "code \(failure.code): \(failure.message)\(details)\(advice)", pluginCode: failure.code)
  }

  private static func shown(_ bytes: [UInt8]) -> String {
    String(decoding: bytes.prefix(512), as: UTF8.self).split { $0.isNewline }.joined(separator: " | ")
  }
}
