internal import ArgumentParser
internal import DaemonConfiguration
internal import Kernel
internal import Logging
internal import Synchronization

@main
enum Program {
  static func main() {
    Memory.keepNoLargeBlocks()
    DaemonSignal.run {
      await Martletd.main()
      return 0
    } onSignal: { signal in
      switch signal {
      case .terminate, .interrupt: Shutdown.request()
      case .hangup: Reload.request()
      }
    }
  }
}

/// The wish to end, from whatever thread it comes, also before there is anything to end.
enum Shutdown {
  private struct State {
    var isWanted = false
    var task: Task<Void, any Error>?
  }
  private static let state = Mutex(State())

  static func request() {
    let task = state.withLock { state in
      state.isWanted = true
      return state.task
    }
    guard let task else { CurrentProcess.exitNow(0) }
    task.cancel()
  }

  static func ends(_ task: Task<Void, any Error>) {
    let isWanted = state.withLock { state in
      state.task = task
      return state.isWanted
    }
    if isWanted { task.cancel() }
  }
}

struct Martletd: AsyncParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "martletd",
    abstract: "Runs pods: the container runtime of a node, behind a CRI socket.",
    discussion: """
      Pods, containers and their logs go on while martletd is away; a new one finds them again.
      Needs root. SIGTERM and SIGINT end it in order; SIGHUP reads the configuration anew.

        martletd --root /var/lib/martlet --run /run/martlet
        martletd config default > /etc/martlet/martletd.toml
      """,
    version: Daemon.version, subcommands: [Serve.self, Config.self], defaultSubcommand: Serve.self)
}

/// Files and flags that settings come from.
struct SettingsOptions: ParsableArguments {
  @Option(help: ArgumentHelp("Images, layers and writable layers.", valueName: "directory"))
  var root: String?

  @Option(help: ArgumentHelp("Runtime state, on a file system that a reboot empties.", valueName: "directory"))
  var run: String?

  @Option(help: ArgumentHelp("The CRI socket; martlet.sock in the run directory by default.", valueName: "path"))
  var socket: String?

  @Option(
    help: ArgumentHelp(
      "Configuration, with drop-ins in the directory of the same name with .d for .toml; "
        + "\(DaemonSettings.defaultPath) by default.", valueName: "file"))
  var config: String?

  @Option(help: ArgumentHelp("The martlet-shim program; the one beside this program by default.", valueName: "path"))
  var shim: String?

  @Option(
    name: .customLong("pod-cidr"),
    help: ArgumentHelp("Addresses of pods; at most one block a family.", valueName: "block"))
  var podBlocks: [String] = []

  @Option(
    name: .customLong("cluster-cidr"),
    help: ArgumentHelp("Addresses of all nodes' pods, which meet each other unmasked.", valueName: "block"))
  var clusterBlocks: [String] = []

  @Option(name: .customLong("service-cidr"), help: ArgumentHelp("Virtual addresses of services.", valueName: "block"))
  var serviceBlocks: [String] = []

  @Option(help: ArgumentHelp("trace, debug, info, notice, warning, error or critical.", valueName: "level"))
  var logLevel: String?

  @Option(help: ArgumentHelp("text or json.", valueName: "format"))
  var logFormat: String?

  func validate() throws {
    for (name, path) in [("root", root), ("run", run), ("socket", socket), ("shim", shim)] {
      if let path, !path.hasPrefix("/") { throw ValidationError("--\(name) \(path): must be absolute") }
    }
    if let logLevel, DaemonSettings.LogLevel(rawValue: logLevel) == nil {
      throw ValidationError("--log-level \(logLevel): is no level")
    }
    if let logFormat, DaemonSettings.LogFormat(rawValue: logFormat) == nil {
      throw ValidationError("--log-format \(logFormat): text or json")
    }
  }

  /// Built-in values, files, then flags.
  func settings() throws -> DaemonSettings {
    var settings = try DaemonSettings.load(config ?? DaemonSettings.presentPath, required: config != nil)
    func flag<Value>(_ key: String, _ given: Value?, _ setting: WritableKeyPath<DaemonSettings, Value>) {
      guard let given else { return }
      settings[keyPath: setting] = given
      settings.origins[key] = "flag"
    }
    flag("root", root, \.root)
    flag("run", run, \.run)
    flag("socket", socket, \.socket)
    flag("shim", shim, \.shim)
    flag("network.pod-cidrs", podBlocks.isEmpty ? nil : podBlocks, \.podBlocks)
    flag("network.cluster-cidrs", clusterBlocks.isEmpty ? nil : clusterBlocks, \.clusterBlocks)
    flag("network.service-cidrs", serviceBlocks.isEmpty ? nil : serviceBlocks, \.serviceBlocks)
    flag("log.level", logLevel.flatMap { DaemonSettings.LogLevel(rawValue: $0) }, \.logLevel)
    flag("log.format", logFormat.flatMap { DaemonSettings.LogFormat(rawValue: $0) }, \.logFormat)
    try settings.check()
    return settings
  }
}

struct Serve: AsyncParsableCommand {
  static let configuration = CommandConfiguration(abstract: "Serve the CRI socket (what martletd does by itself).")

  @OptionGroup var options: SettingsOptions

  func run() async throws {
    let settings = try options.settings()
    guard CurrentProcess.effectiveUser == 0 else { throw ValidationError("martletd needs root") }
    StderrLog.use(settings)
    LoggingSystem.bootstrap { _ in StderrLog() }
    let daemon = Daemon(
      settings: settings, reread: { [options] in try options.settings() }, log: Logger(label: "martletd"))
    let serving = Task { try await daemon.serve() }
    Shutdown.ends(serving)
    do {
      try await serving.value
    } catch is CancellationError {
      return
    } catch {
      daemon.log.critical("martletd ends", metadata: ["error": "\(error)"])
      throw ExitCode.failure
    }
  }
}

struct Config: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Print or check configuration.", subcommands: [Default.self, Check.self, Dump.self])

  struct Default: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print the built-in configuration, with comments.")

    func run() throws {
      try StandardStream.write(Array(DaemonSettings().text.utf8), to: .output)
    }
  }

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Read a configuration and its drop-ins and print what comes of them; fails at the first mistake.")

    @Argument(help: "The file.")
    var path = DaemonSettings.defaultPath

    func run() throws {
      let settings = try DaemonSettings.load(path, required: true)
      try settings.check()
      try StandardStream.write(Array(settings.text.utf8), to: .output)
    }
  }

  struct Dump: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Print what a daemon with these flags would use, each setting with where it comes from.")

    @OptionGroup var options: SettingsOptions

    func run() throws {
      try StandardStream.write(Array(try options.settings().dump.utf8), to: .output)
    }
  }
}
