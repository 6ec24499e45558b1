internal import DaemonConfiguration
internal import Kernel
internal import Logging
internal import Registry
internal import CRIServer
internal import Synchronization

/// The wish that the configuration be read anew, from whatever thread it comes.
enum Reload {
  // Holds at most one: several wishes at once are one.
  private static let stream = AsyncStream<Void>.makeStream(bufferingPolicy: .bufferingNewest(1))
  static func request() { stream.continuation.yield() }
  static var requests: AsyncStream<Void> { stream.stream }
}

/// The client of registries, which a reload replaces: pulls under way go on with the one that they began with.
final class Registries: Sendable {
  private let clients: Mutex<[RegistryClient]>
  private let log: Logger

  init(_ settings: DaemonSettings, log: Logger) {
    self.log = log
    clients = Mutex([Self.client(settings, log)])
  }

  private static func client(_ settings: DaemonSettings, _ log: Logger) -> RegistryClient {
    RegistryClient(
      options: RegistryOptions(hostsDirectory: settings.hostsDirectory, dockerConfigPath: settings.dockerConfig),
      log: log)
  }

  func replace(_ settings: DaemonSettings) { clients.withLock { $0.append(Self.client(settings, log)) } }

  private var current: RegistryClient {
    clients.withLock { $0[$0.count - 1] }
  }

  var source: RegistrySource {
    var source = RegistrySource(client: current)
    source.source = { RegistrySource(client: self.current).source($0) }
    return source
  }

  /// Closes the connections of all of them.
  func shutdown() async throws {
    let all = clients.withLock { $0 }
    for client in all.dropLast() { try? await client.shutdown() }
    try await all.last?.shutdown()
  }
}

extension Daemon {
  /// Takes over what can be taken over, each time somebody asks, until cancelled.
  func reloadWhenAsked(_ registries: Registries, _ network: NodeNetwork) async {
    var settings = settings
    for await _ in Reload.requests {
      notifySystemd("RELOADING=1")
      do {
        let new = try reread()
        let changes = settings.changes(to: new)
        let now = settings.reloaded(from: new)
        StderrLog.use(now)
        if now.hostsDirectory != settings.hostsDirectory || now.dockerConfig != settings.dockerConfig {
          registries.replace(now)
        }
        settings = now
        await network.reload()
        log.notice("configuration read anew", metadata: ["taken": "\(changes.taken.joined(separator: ","))"])
        if !changes.needRestart.isEmpty {
          log.warning(
            "these settings need a restart", metadata: ["settings": "\(changes.needRestart.joined(separator: ","))"])
        }
      } catch {
        log.error("the configuration cannot be read; the old one stays", metadata: ["error": "\(error)"])
      }
      notifySystemd("READY=1")
    }
  }
}
