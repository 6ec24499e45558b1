import ArgumentParser
import CRIClient
import CRIModel
import JSON
import NodeAgent

/// What a kubelet's flags of the same names set.
struct NodeTuning: ParsableArguments {
  @Option(
    name: .customLong("eviction-hard"),
    help: ArgumentHelp("Below what pods are evicted at once.", valueName: "signal<amount,…"))
  var evictionHard = EvictionSettings.usualHard

  @Option(
    name: .customLong("eviction-soft"),
    help: ArgumentHelp("Below what pods are evicted after a while.", valueName: "signal<amount,…"))
  var evictionSoft = ""

  @Option(
    name: .customLong("eviction-soft-grace-period"),
    help: ArgumentHelp("How long that while is, for each soft threshold.", valueName: "signal=time,…"))
  var evictionSoftGracePeriod = ""

  @Option(
    name: .customLong("eviction-minimum-reclaim"),
    help: ArgumentHelp("How much more than a threshold must be there again.", valueName: "signal=amount,…"))
  var evictionMinimumReclaim = ""

  @Option(
    name: .customLong("eviction-max-pod-grace-period"),
    help: ArgumentHelp("What a pod has at the most to end where a soft threshold evicts it.", valueName: "seconds"))
  var evictionMaxPodGracePeriod: Int64 = 0

  @Option(
    name: .customLong("eviction-pressure-transition-period"),
    help: ArgumentHelp("How long a pressure stands at least.", valueName: "time"))
  var evictionPressureTransitionPeriod = "5m"

  @Option(
    name: .customLong("cgroup-root"),
    help: ArgumentHelp(
      "The cgroup with kubepods in it, by quality of service; what the runtime names by default.", valueName: "path"))
  var cgroupRoot: String?

  @Option(
    name: .customLong("read-only-port"),
    help: ArgumentHelp(
      "Also answer /pods, /stats and /metrics on 127.0.0.1 to everybody, without asking who it is; a kubelet's was "
        + "10255.", valueName: "port"))
  var readOnlyPort = 0

  func validate() throws {
    guard (0...65_535).contains(readOnlyPort) else {
      throw ValidationError("--read-only-port \(readOnlyPort): 0 to 65535")
    }
    guard evictionMaxPodGracePeriod >= 0 else {
      throw ValidationError("--eviction-max-pod-grace-period \(evictionMaxPodGracePeriod): 0 seconds or more")
    }
  }

  func eviction() throws -> EvictionSettings {
    do throws(ThresholdError) {
      var settings = try EvictionSettings(
        hard: evictionHard, soft: evictionSoft, softGrace: evictionSoftGracePeriod, reclaim: evictionMinimumReclaim)
      settings.graceSecondsMax = evictionMaxPodGracePeriod
      guard let transition = EvictionSettings.milliseconds(evictionPressureTransitionPeriod) else {
        throw ThresholdError(description: "\"\(evictionPressureTransitionPeriod)\" is no time such as 5m")
      }
      settings.transition = transition
      return settings
    } catch {
      throw Failure("eviction: \(error)", code: Failure.usageCode)
    }
  }

  /// How long the runtime may take to say where its cgroups are.
  private static let statusMax = Duration.seconds(5)
  private static let statusPause = Duration.milliseconds(100)

  /// Where kubepods is. A runtime that says where it keeps its pods is taken at its word; any other has the root.
  static func cgroups(_ runtime: CRIClient, root: String?) async -> (root: String?, usesSlices: Bool) {
    let deadline = ContinuousClock.now + statusMax
    while ContinuousClock.now < deadline, !Task.isCancelled {
      do {
        let status = try await runtime.status(verbose: true)
        if try await runtime.runtimeConfig().linux.cgroupDriver == .systemd { return (nil, true) }
        if let root { return (root, false) }
        let config = try status.info["config"].map { try JSONValue.parse($0) }
        return (config?["cgroupParent"]?.string ?? "", false)
      } catch {
        try? await Task.sleep(for: statusPause)
      }
    }
    return (root, false)
  }
}
