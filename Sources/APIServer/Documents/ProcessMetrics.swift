import Kernel

/// What the kernel says of this process, under the names of Prometheus' client libraries. procfs does not block.
enum ProcessMetrics {
  private static let pageBytes = 4096
  private static let ticksPerSecond = 100.0

  static func text() -> String {
    var text = ""
    // After the name in parentheses, which may hold anything, come the fields from the third on.
    if let stat = try? Files.readText("/proc/self/stat"), let end = stat.lastIndex(of: ")") {
      let fields = stat[stat.index(after: end)...].split(separator: " ")
      if fields.count > 21, let user = Double(fields[11]), let system = Double(fields[12]), let pages = Int(fields[21])
      {
        text += "# TYPE process_cpu_seconds_total counter\n"
        text += "process_cpu_seconds_total \((user + system) / ticksPerSecond)\n"
        text += "# TYPE process_resident_memory_bytes gauge\n"
        text += "process_resident_memory_bytes \(pages * pageBytes)\n"
        text += "# TYPE process_virtual_memory_bytes gauge\n"
        text += "process_virtual_memory_bytes \(fields[20])\n"
      }
    }
    if let open = try? CurrentProcess.openDescriptors() {
      text += "# TYPE process_open_fds gauge\nprocess_open_fds \(open)\n"
    }
    return text
  }
}
