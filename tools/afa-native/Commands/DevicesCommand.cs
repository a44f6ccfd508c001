using System.CommandLine;
using AfaNative.Kernels.Contracts;
using AfaNative.Kernels.Devices;

namespace AfaNative.Tool.Commands;

/// <summary><c>afa-native devices</c>: what can be written after --device here, and why something cannot.</summary>
internal static class DevicesCommand
{
    public static Command Create()
    {
        var command = new Command("devices", "Lists the devices of this machine, and says why one cannot be used.");
        command.SetAction(_ =>
        {
            foreach (DeviceDescription device in DeviceRegistry.Find())
                Terminal.Result(
                    $"{device.Name, -14} "
                        + $"{device.Description}{(device.Unusable is null ? "" : $": not usable, {device.Unusable}")}"
                );
        });
        return command;
    }
}
