import ContainerPlan
import JSON
import Kernel
import Logging
import OCISpec
import PodRuntime

/// The runtime engine in this process: one pod, and a container of it at a time.
final class EngineContainers: Sendable {
  private let runtime: Runtime
  private let sandboxID: String
  private let bundle: Bundle
  private let specification: RuntimeSpec
  private let seccompProgram: [UInt8]?
  private let serial = Serial()

  init(work: String, bundle: Bundle) async throws {
    self.bundle = bundle
    specification = try RuntimeSpec(json: bundle.configuration)
    let programs = SeccompPrograms(directory: nil)
    seccompProgram = try specification.linux.seccomp.map { try programs.program($0) }
    var configuration = RuntimeConfiguration(rootDirectory: "\(work)/root", runDirectory: "\(work)/run")
    configuration.cgroupParent = "mt-bench-engine-\(CurrentProcess.id)"
    configuration.toleratesMissingControllers = true
    var log = Logger(label: "martlet-bench")
    log.logLevel = .warning
    // The pod is on this process's own network, and images are a directory: nothing is asked of either.
    let network = NetworkProvider(
      start: { _ in [:] }, attach: { _ in SandboxAddresses() }, detach: { _ in })
    let hooks = RuntimeHooks(
      network: network, releaseImage: { _ in }, holdImage: { _, _ in },
      recompile: { _, _, _ in throw BenchError("a benchmark recovers nothing") })
    runtime = try await Runtime(configuration: configuration, hooks: hooks, log: log)
    var pod = SandboxConfig(identity: SandboxIdentity(namespace: "bench", name: "engine", uid: "1", attempt: 0))
    pod.network = .node
    sandboxID = try await runtime.runSandbox(pod)
  }

  /// Create, start, exit, delete; milliseconds.
  func once() async throws -> Double {
    let name = "c\(serial.next())"
    return try await milliseconds {
      let id = try await runtime.createContainer(in: sandboxID, name: name, attempt: 0, request: []) {
        [bundle, specification, seccompProgram] places, _ in
        var context = SandboxContext()
        context.seccompProgram = seccompProgram
        let root = RootFilesystem.overlay(
          lowerDirectories: [bundle.root], upperDirectory: places.upperDirectory,
          workDirectory: places.workDirectory)
        return CompiledContainer(
          config: ContainerConfig(name: name, attempt: 0), specification: specification, root: root,
          context: context)
      }
      try await runtime.startContainer(id)
      let exit = try await runtime.waitUntilEnded(id)
      guard exit?.code == 0 else { throw BenchError("the container ended with \(exit?.code ?? -1)") }
      try await runtime.removeContainer(id)
    }
  }

  func close() async throws {
    try await runtime.stopSandbox(sandboxID)
    try await runtime.removeSandbox(sandboxID)
    try CgroupHierarchy.discover().group(try CgroupPath(runtime.configuration.cgroupParent)).remove()
  }
}
