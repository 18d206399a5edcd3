@echo off
rem Intune win32 app: uninstall command. Configuration, consents and state stay;
rem add PURGEDATA=1 to the last command to remove them for good.
setlocal
for /f "tokens=*" %%K in ('reg query "HKLM\SOFTWARE\Microsoft\Windows\CurrentVersion\Uninstall" /s /f "digi.me Sync" /d /e /reg:64 ^| findstr /b HKEY') do set "KEY=%%K"
if not defined KEY exit /b 0
for %%K in ("%KEY%") do set "PRODUCT=%%~nxK"
msiexec /x %PRODUCT% /qn /norestart /l*v "%SystemRoot%\Temp\digime-sync-uninstall.log"
exit /b %ERRORLEVEL%
